"""Findings whose numbers are made up, to test what is done with findings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cloakwork.benchmark.results import Cell, Cost, Flag, Results, TableResults
from cloakwork.evaluation.statistics import Estimate

LEFT = {"none": 0.9, "noise": 0.88, "pid": 0.34, "cloakwork": 0.21, "glaze": 0.86}
ATTACKERS = {"plain": "", "recoder": "jpeg:quality=75", "cleaner": "gridpure+jpeg"}
CLEAN, NOISE = LEFT["none"], LEFT["noise"]


def about(mean: float, spread: float = 0.05, p: float | None = None) -> Estimate:
    return Estimate(
        mean, mean - spread, mean + spread, 6, 2, 96, p, "" if p is None else "photo set"
    )


def cell(
    table: str,
    protection: str,
    threat: str,
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
        threat,
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
    name: str = "faces", threats: Mapping[str, str] = ATTACKERS, left: Mapping[str, float] = LEFT
) -> TableResults:
    """What each protection leaves to the first attacker, and a little more to each further one."""
    cells = []
    for i, (threat, chain) in enumerate(threats.items()):
        for protection, share in left.items():
            share = min(0.99, share + 0.05 * i)
            cells.append(
                cell(
                    name, protection, threat, chain, "match", share, (share - CLEAN, share - NOISE)
                )
            )
            far = 0.7 - 0.4 * share
            gaps = (0.4 * (CLEAN - share), 0.4 * (NOISE - share))
            cells.append(cell(name, protection, threat, chain, "identity", far, gaps))
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
        tuple(threats),
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
        Flag("attacker fails", "faces: plain", "Fails."),
    )
    costs = (
        Cost("protect", "pid", 2, 3.25, 6.5, 1),
        Cost("attack", "dreambooth", 36, 61.0, 2190.0, 2),
    )
    return Results("a grid", "Made up for a test.", tables or (table(),), flags, costs, made)


def changed(
    found: TableResults, protection: str, metric: str, threat: str = "plain", **to: object
) -> TableResults:
    """The table with one cell changed."""
    cells = (
        replace(c, **to)
        if (c.protection, c.metric, c.threat_model) == (protection, metric, threat)
        else c  # pyright: ignore
        for c in found.cells
    )
    return replace(found, cells=tuple(cells))
