"""Findings whose numbers are made up, to test what is done with findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cloakwork.benchmark.results import Cell, Cost, Flag, Results, TableResults
from cloakwork.evaluation.statistics import Estimate

LEFT = {"none": 0.9, "noise": 0.88, "pid": 0.34, "cloakwork": 0.21, "glaze": 0.86}
THIEVES = {"plain": "", "recoder": "jpeg:quality=75", "cleaner": "gridpure+jpeg"}
CLEAN, NOISE = LEFT["none"], LEFT["noise"]


def about(mean: float, spread: float = 0.05, p: float | None = None) -> Estimate:
    return Estimate(
        mean, mean - spread, mean + spread, 6, 2, 96, p, "" if p is None else "photo set"
    )


def cell(
    table: str,
    protection: str,
    thief: str,
    chain: str,
    metric: str,
    mean: float,
    gaps: Sequence[float],
) -> Cell:
    better, unit = ("higher", "share") if metric == "match" else ("lower", "")
    budget = 0 if protection == "none" else 11
    found = Cell(
        table,
        protection,
        budget,
        thief,
        "dreambooth",
        chain,
        "tiny",
        metric,
        better,
        unit,
        about(mean),
    )
    if protection == "none":
        return found
    noise = None if protection == "noise" else about(gaps[1], p=0.031)
    return replace(found, against_clean=about(gaps[0], p=0.031), against_noise=noise)


def table(
    name: str = "faces", thieves: Mapping[str, str] = THIEVES, left: Mapping[str, float] = LEFT
) -> TableResults:
    """What each protection leaves to the first thief, a little more of it to every further one."""
    cells = []
    for i, (thief, chain) in enumerate(thieves.items()):
        for protection, share in left.items():
            share = min(0.99, share + 0.05 * i)
            cells.append(
                cell(name, protection, thief, chain, "match", share, (share - CLEAN, share - NOISE))
            )
            far = 0.7 - 0.4 * share
            gaps = (0.4 * (CLEAN - share), 0.4 * (NOISE - share))
            cells.append(cell(name, protection, thief, chain, "identity", far, gaps))
    stealth = {
        p: {
            "linf": about(11, 0),
            "psnr": about(30 + x),
            "ssim": about(0.8),
            "lpips": about(0.25 - 0.15 * x, 0.01),
        }
        for p, x in left.items()
        if p not in ("none", "noise")
    }
    metrics = ("match", "identity")
    return TableResults(
        name,
        "Made up.",
        ("one", "two"),
        2,
        metrics,
        tuple(thieves),
        tuple(left),
        "",
        tuple(cells),
        stealth,
    )


def findings(*tables: TableResults) -> Results:
    made = {
        "weights": {"tiny": "73ea99ffabf2"},
        "surroundings": {"threads": 1, "packages": {"torch": "2"}},
        "tables": {"faces": {"photos": ["a", "b"]}},
    }
    flags = (
        Flag("few photo sets", "faces: all", "Two photo sets: indicative only."),
        Flag("thief fails", "faces: plain", "Fails."),
    )
    costs = (
        Cost("protect", "pid", 2, 3.25, 6.5, 1),
        Cost("attack", "dreambooth", 36, 61.0, 2190.0, 2),
    )
    return Results("a grid", "Made up for a test.", tables or (table(),), flags, costs, made)


def changed(
    found: TableResults, protection: str, metric: str, thief: str = "plain", **to: object
) -> TableResults:
    """The table with one cell changed."""
    cells = (
        replace(c, **to) if (c.protection, c.metric, c.thief) == (protection, metric, thief) else c  # pyright: ignore
        for c in found.cells
    )
    return replace(found, cells=tuple(cells))
