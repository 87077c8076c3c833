"""The order and the meaning of a table's rows: controls first, then protections by what they leave
to the attacker.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cloakwork.benchmark.grids import CONTROLS
from cloakwork.benchmark.results import Cell, TableResults, strongest
from cloakwork.evaluation.statistics import Estimate


@dataclass(frozen=True)
class LeaderboardRow:
    """A protection, or a control, under one attacker."""

    protection: str
    control: bool
    cells: Mapping[str, Cell]
    """metric -> cell; what was not measured is missing"""
    verdict: str
    """by the table's first metric: one of VERDICTS"""

    @property
    def budget(self) -> float:
        """Return the budget, 1/255; NaN when nothing at all was measured."""
        return next((c.budget for c in self.cells.values()), math.nan)


VERDICTS = {
    "control": "what protections are compared with",
    "yes": (
        "the attacker gets less than from clean photos and than from noise of the same budget, "
        "both 95 % intervals beyond 0"
    ),
    "no": "no less than from one of the two, as far as can be told",
    "failed": "there is no number",
    "open": "the metric does not say which way is better, or there is nothing to compare with",
}


@dataclass(frozen=True)
class WorstCase:
    """What a protection leaves to the attackers who run photos through the same purifiers, by the
    table's first metric.
    """

    protection: str
    by_purifiers: Mapping[str, Cell | None]
    """purifiers -> the cell of the attacker who gets most; None: none of them has a number"""
    worst: Cell | None
    """over all of them"""
    whole: bool
    """whether every attacker has a number; else one who has none might get more"""


def control(protection: str) -> bool:
    """Return whether a row is a control: clean photos, or noise (of some budget).

    >>> [name for name in ("none", "noise 8", "pid") if control(name)]
    ['none', 'noise 8']
    """
    return protection.partition(" ")[0] in CONTROLS


def known(estimate: Estimate | None) -> bool:
    """Return whether there is a number.

    >>> known(None), known(Estimate(math.nan, math.nan, math.nan, 0, 0, 0))
    (False, False)
    """
    return estimate is not None and not math.isnan(estimate.mean)


def leaderboard(table: TableResults, attacker: str) -> list[LeaderboardRow]:
    """Return the leaderboard of one attacker: controls as the table has them, then protections,
    best first, last those without a number.
    """
    metric = table.metrics[0]
    cells = {(c.protection, c.metric): c for c in table.cells if c.threat_model == attacker}
    board = []
    for name in table.protections:
        by_metric = {m: cells[name, m] for m in table.metrics if (name, m) in cells}
        verdict = _verdict(name, by_metric.get(metric))
        board.append(LeaderboardRow(name, control(name), by_metric, verdict))
    controls = [row for row in board if row.control]
    protections = [row for row in board if not row.control]
    return controls + sorted(protections, key=lambda row: _place(row, metric))


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


def worst_cases(table: TableResults) -> list[WorstCase]:
    """Return for each row of the leaderboard what the worst attacker gets, with each chain of
    purifiers; empty where no attacker has any.
    """
    first = [c for c in table.cells if c.metric == table.metrics[0]]
    chains = list(dict.fromkeys(c.purifiers for c in first))
    if not any(chains):
        return []
    cases = []
    for name in (row.protection for row in leaderboard(table, table.threat_models[0])):
        cells = [c for c in first if c.protection == name]
        by = {chain: strongest(c for c in cells if c.purifiers == chain) for chain in chains}
        cases.append(WorstCase(name, by, strongest(cells), all(known(c.mean) for c in cells)))
    return cases


def winners(table: TableResults, attackers: Sequence[str]) -> list[str]:
    """Return the protections that beat both controls under every one of these attackers."""
    boards = [{r.protection: r.verdict for r in leaderboard(table, name)} for name in attackers]
    return [name for name in boards[0] if all(b[name] == "yes" for b in boards)]


def axis_range(estimates: Iterable[Estimate]) -> tuple[float, float]:
    """Return the range that holds all intervals, and 0 where it is near.

    >>> axis_range([Estimate(0.5, 0.1, 0.75, 6, 2, 96)])
    (0.0, 0.75)
    >>> axis_range([])
    (0.0, 1.0)
    """
    ends = [x for e in estimates for x in (e.mean, e.low, e.high) if math.isfinite(x)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    return (min(low, 0.0), high) if low < 0.5 * high else (low - 0.05 * (high - low), high)
