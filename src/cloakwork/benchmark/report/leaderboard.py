"""The order and the meaning of a table's rows: controls first, then protections by what they leave
to the thief.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cloakwork.benchmark.grids import CONTROLS
from cloakwork.benchmark.results import Cell, TableResults
from cloakwork.evaluation.intervals import Estimate


@dataclass(frozen=True)
class LeaderboardRow:
    """A protection, or a control, under one thief."""

    protection: str
    control: bool
    cells: Mapping[str, Cell]
    """metric -> cell; what was not measured is missing"""
    verdict: str
    """by the table's first metric: one of VERDICTS"""

    @property
    def budget(self) -> float:
        """1/255; NaN when nothing at all was measured."""
        return next((c.budget for c in self.cells.values()), math.nan)


VERDICTS = {
    "control": "what protections are compared with",
    "yes": "the thief gets less than from clean photos and than from noise of the same budget, both 95 % intervals beyond 0",
    "no": "no less than from one of the two, as far as can be told",
    "failed": "there is no number",
    "open": "the metric does not say which way is better, or there is nothing to compare with",
}


@dataclass(frozen=True)
class WorstCase:
    """What a protection leaves to the thieves who run photos through the same purifiers, by the
    table's first metric.
    """

    protection: str
    by_purifiers: Mapping[str, Cell | None]
    """purifiers -> the cell of the thief who gets most; None: none of them has a number"""
    worst: Cell | None
    """over all of them"""
    whole: bool
    """whether every thief has a number; else one who has none might get more"""


def control(protection: str) -> bool:
    """Whether a row is a control: clean photos, or noise (of some budget)."""
    return protection.partition(" ")[0] in CONTROLS


def known(estimate: Estimate | None) -> bool:
    """Whether there is a number."""
    return estimate is not None and not math.isnan(estimate.mean)


def leaderboard(table: TableResults, thief: str) -> list[LeaderboardRow]:
    """The leaderboard of one thief: controls as the table has them, then protections, best first,
    last those without a number.
    """
    cells = {(c.protection, c.metric): c for c in table.cells if c.thief == thief}
    rows = []
    for name in table.protections:
        mine = {m: cells[name, m] for m in table.metrics if (name, m) in cells}
        rows.append(
            LeaderboardRow(name, control(name), mine, _verdict(name, mine.get(table.metrics[0])))
        )
    return [r for r in rows if r.control] + sorted(
        (r for r in rows if not r.control), key=lambda r: _place(r, table.metrics[0])
    )


def _verdict(name: str, cell: Cell | None) -> str:
    if cell is None or not known(cell.mean):
        return "failed"
    if control(name):
        return "control"
    return {True: "yes", False: "no", None: "open"}[cell.works]


def _place(row: LeaderboardRow, metric: str) -> tuple[bool, float]:
    cell = row.cells.get(metric)
    if cell is None or cell.mean is None or not known(cell.mean):
        return True, 0.0
    return False, cell.mean.mean * (-1 if cell.better == "lower" else 1)


def strongest(cells: Iterable[Cell]) -> Cell | None:
    """The cell of the thief who gets most; None where no cell has a number, or the metric has no
    better side.
    """
    scored = [
        (c.mean.mean * (-1 if c.better == "lower" else 1), c)
        for c in cells
        if c.mean and known(c.mean) and c.better
    ]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def worst_cases(table: TableResults) -> list[WorstCase]:
    """For each row of the leaderboard what the worst thief gets, with each chain of purifiers;
    empty where no thief has any.
    """
    first = [c for c in table.cells if c.metric == table.metrics[0]]
    chains = list(dict.fromkeys(c.purifiers for c in first))
    if not any(chains):
        return []
    found = []
    for name in (row.protection for row in leaderboard(table, table.thieves[0])):
        mine = [c for c in first if c.protection == name]
        by = {chain: strongest(c for c in mine if c.purifiers == chain) for chain in chains}
        found.append(WorstCase(name, by, strongest(mine), all(known(c.mean) for c in mine)))
    return found


def winners(table: TableResults, thieves: Sequence[str]) -> list[str]:
    """Protections that beat both controls under every one of these thieves."""
    boards = [{r.protection: r.verdict for r in leaderboard(table, thief)} for thief in thieves]
    return [name for name in boards[0] if all(b[name] == "yes" for b in boards)]


def axis_range(estimates: Iterable[Estimate]) -> tuple[float, float]:
    """The range that holds all intervals, and 0 where it is near."""
    ends = [x for e in estimates for x in (e.mean, e.low, e.high) if math.isfinite(x)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    return (min(low, 0.0), high) if low < 0.5 * high else (low - 0.05 * (high - low), high)
