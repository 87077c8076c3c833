"""Numbers and flags in words that people read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from cloakwork import registry
from cloakwork.benchmark.report import leaderboard
from cloakwork.benchmark.results import Cell, Flag, Results, TableResults
from cloakwork.evaluation.intervals import Estimate

STEALTH = {"linf": "lower", "psnr": "higher", "ssim": "higher", "lpips": "lower"}


def number(value: float, unit: str = "", *, signed: bool = False) -> str:
    """As many digits as mean something: two for shares and what is above 1, three for small
    numbers.
    """
    if math.isnan(value):
        return "unscored"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 or unit == "share" else 3
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def seconds(value: float) -> str:
    """Two digits after the point, and none that are not there."""
    return "< 0.01" if value < 0.01 else number(value, "share")


def interval(estimate: Estimate, unit: str = "", *, signed: bool = False) -> str:
    """[low, high]."""
    return f"[{number(estimate.low, unit, signed=signed)}, {number(estimate.high, unit, signed=signed)}]"


def p_value(p: float | None) -> str:
    """p = 0.03; nothing for none."""
    return "" if p is None or math.isnan(p) else "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def safer(better: str) -> str:
    """Which way a metric goes when a protection works."""
    return {"higher": "lower is safer", "lower": "higher is safer"}.get(better, "")


def count(n: int, thing: str) -> str:
    """2 photo sets."""
    return f"{n:,} {thing}{'s' * (n != 1)}".replace(",", " ")


def join_names(names: Iterable[str]) -> str:
    """a, b and c."""
    *others, last = list(names) or ["none"]
    return f"{', '.join(others)} and {last}" if others else last


def victims(findings: Results) -> list[str]:
    """The models that thieves used."""
    return sorted({c.victim for t in findings.tables for c in t.cells})


def about_metric(name: str) -> str:
    """The first line of a metric's help; nothing where it is anybody's own."""
    return dict(registry.listing("metrics")).get(name, "")


def sample_size(table: TableResults) -> str:
    """6 photo sets, 2 seeds, 96 pictures a cell."""
    pictures = sorted({c.mean.pictures for c in table.cells if c.mean and c.mean.pictures})
    shown = (
        f", {' to '.join(str(p) for p in dict.fromkeys((pictures[0], pictures[-1])))} pictures a cell"
        if pictures
        else ""
    )
    return f"{count(len(table.subjects), 'photo set')}, {count(table.seeds, 'seed')}{shown}"


def grouped(flags: Iterable[Flag]) -> dict[str, list[Flag]]:
    """Flags by kind, the most frequent kind first."""
    found: dict[str, list[Flag]] = {}
    for flag in flags:
        found.setdefault(flag.kind, []).append(flag)
    return dict(sorted(found.items(), key=lambda kind: -len(kind[1])))


def verdicts(table: TableResults) -> Iterator[str]:
    """What a table shows, in sentences."""
    first, metric = table.thieves[0], table.metrics[0]
    judged = [r for r in leaderboard.leaderboard(table, first) if not r.control]
    good = [r.protection for r in judged if r.verdict == "yes"]
    scored = [r for r in judged if r.verdict in ("yes", "no")]
    if scored:
        most = f"{len(good)} of {count(len(judged), 'protection')} {'leaves' if len(good) == 1 else 'leave'}"
        named = f": {join_names(good)}" if good else ""
        yield f"Under {first}, {most} the thief less than clean photos and than noise do, by {metric}{named}."
    elif judged:
        yield f"Under {first}, no protection can be judged by {metric}."
    if len(table.thieves) > 1 and scored:
        all_over = leaderboard.winners(table, table.thieves)
        yield f"Less under every one of {len(table.thieves)} thieves: {join_names(all_over)}."
    if lost := sum(_lost(c) for c in table.cells):
        yield f"{count(lost, 'cell')} of {len(table.cells)} {'have' if lost > 1 else 'has'} no number."


def _lost(cell: Cell) -> bool:
    return not leaderboard.known(cell.mean)


def flag_meaning(kind: str) -> str:
    """What a kind of flag means, as the checks say it; "" for one that they do not know."""
    from cloakwork.benchmark.flags import FLAG_KINDS

    text = FLAG_KINDS.get(kind, "")
    return text[:1].upper() + text[1:]
