"""The benchmark's distrust of itself: what makes a cell doubtful, said beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cloakwork.benchmark.execution.failures import Failure
from cloakwork.benchmark.flag_checks import CHECKS, TableContext
from cloakwork.benchmark.grids import Grid, lines
from cloakwork.benchmark.results import Cell, Results
from cloakwork.evaluation.statistics import FEWEST_SETS
from cloakwork.evaluation.steps import Workspace

FLAG_KINDS = {
    "failed": "a step failed, so a number is missing",
    "unscored": "a metric cannot score the pictures",
    "attacker fails": "the attacker fails even on clean photos: there is nothing to protect from",
    "budget 0": "a protection with a budget of 0 is not the same as none",
    "over budget": "a protected photo differs from its original by more than the budget",
    "no gradient": "the protection's gradient was zero or not a number, or it changed nothing",
    "harmful purifier": (
        "a purifier costs the attacker at least as much on clean photos as it gains, if anything, "
        "on protected ones"
    ),
    "adaptive attacker": "another attacker gets more from protected photos than the standard one",
    "helps the attacker": "the attacker gets more from protected photos than from clean ones",
    "worst case within noise": (
        "after the worst purifier that was tried, a protection is not shown to leave the attacker "
        "less than random noise that went the same way"
    ),
    "few photo sets": f"fewer than {FEWEST_SETS} photo sets: indicative only",
}


def add_flags(
    findings: Results,
    grid: Grid,
    workspace: Workspace,
    failures: Mapping[str, Failure] | None = None,
) -> Results:
    """Return findings with the flags that they deserve: in all, and beside every cell that one is
    about.

    Args:
        findings: of the whole grid.
        grid: what was asked for.
        workspace: with the store.
        failures: names of results that could not be made, and why; as `collect` was given them.
    """
    flags, tables = [], []
    for table, results in zip(grid.tables, findings.tables, strict=True):
        case = TableContext(table, results, tuple(lines(table)), workspace, failures or {})
        kinds: dict[Cell, list[str]] = {}
        for flag, cells in (pair for check in CHECKS for pair in check(case)):
            flags.append(flag)
            for cell in cells:
                kinds.setdefault(cell, []).append(flag.kind)
        flagged = tuple(
            replace(c, flags=tuple(dict.fromkeys(kinds.get(c, ())))) for c in results.cells
        )
        tables.append(replace(results, cells=flagged))
    return replace(findings, tables=tuple(tables), flags=tuple(dict.fromkeys(flags)))
