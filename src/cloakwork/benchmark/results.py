"""What came out of a grid: cells with their intervals, read from the store, and the same as plain
data.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from statistics import median
from typing import Any

from cloakwork import specs
from cloakwork.benchmark.grids import Grid, Line, Table, lines, targets
from cloakwork.environment import surroundings
from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.design import (
    CLEAN,
    NOISE,
    PROTECTED,
    STEALTH,
    ThreatModel,
    score_step,
    stealth_step,
)
from cloakwork.evaluation.intervals import Estimate, Scores, difference, estimate
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.models import loading


@dataclass(frozen=True)
class Reported:
    """A number that a paper gives for the like of a cell."""

    value: float
    source: str
    """paper and table"""
    model: str
    """what it was measured on"""
    note: str = ""
    """how its circumstances differ"""


@dataclass(frozen=True)
class Flag:
    """A reason to distrust something."""

    kind: str
    """one of checks.KINDS"""
    where: str
    """the cells that it is about, in words"""
    text: str
    """a sentence for people"""


@dataclass(frozen=True)
class Cell:
    """One protection under one thief, by one metric."""

    table: str
    protection: str
    """as the recipe writes it; "none" and "noise" are the controls"""
    budget: float
    """1/255; 0 for none"""
    thief: str
    """its label"""
    attacker: str
    purifiers: str
    """joined by +; "" for none"""
    victim: str
    metric: str
    better: str
    """which way the pictures are better for the thief: "higher", "lower" or "" """
    unit: str
    mean: Estimate | None = None
    """None: failed, or unscored"""
    against_clean: Estimate | None = None
    """paired; None for none itself"""
    against_noise: Estimate | None = None
    """paired; None for none and noise"""
    against_rival: Estimate | None = None
    """paired, against the table's rival"""
    reported: tuple[Reported, ...] = ()
    failed: str = ""
    """why there is no number, one sentence"""
    unscored: bool = False
    """there are pictures, and the metric cannot score them, which running it again will not mend"""
    flags: tuple[str, ...] = ()
    """kinds of the flags that are about this cell"""

    @property
    def status(self) -> str:
        """What became of the number, in a word: failed, or unscored; "" where there is one."""
        return (
            ""
            if self.mean and not self.failed
            else "failed"
            if self.failed and not self.unscored
            else "unscored"
        )

    @property
    def works(self) -> bool | None:
        """Whether a thief gets less than from clean photos and than from noise, both intervals on
        the thief's worse side.

        None for controls, metrics without a better side, and what failed.
        """
        if self.against_clean is None or self.against_noise is None or not self.better:
            return None
        gaps = (self.against_clean, self.against_noise)
        return (
            all(g.high < 0 for g in gaps)
            if self.better == "higher"
            else all(g.low > 0 for g in gaps)
        )


@dataclass(frozen=True)
class Cost:
    """What the steps of one method took."""

    kind: str
    """protect, purify, attack or score"""
    name: str
    steps: int
    seconds: float
    """median of one, wall clock"""
    cpu_seconds: float
    """of all together"""
    hosts: int


@dataclass(frozen=True)
class TableResults:
    """One table."""

    name: str
    about: str
    subjects: tuple[str, ...]
    seeds: int
    metrics: tuple[str, ...]
    thieves: tuple[str, ...]
    """labels, the standard one first"""
    protections: tuple[str, ...]
    """none and noise first"""
    rival: str
    cells: tuple[Cell, ...]
    stealth: dict[str, dict[str, Estimate]]
    """protection -> linf, psnr, ssim, lpips of protected photos against their originals; what
    failed is left out"""


@dataclass(frozen=True)
class Results:
    """A whole grid."""

    name: str
    about: str
    tables: tuple[TableResults, ...]
    flags: tuple[Flag, ...] = ()
    costs: tuple[Cost, ...] = ()
    made: dict[str, Any] = field(default_factory=dict)
    """how it was made: versions, device, threads, weights of the models, configs of protections and
    thieves, when"""


def collect(grid: Grid, workspace: Workspace, failed: Mapping[str, str] | None = None) -> Results:
    """Reads a grid's scores from the store; computes nothing but means and intervals.

    Args:
        grid: tables.
        workspace: with the store.
        failed: names of results that could not be made, and why; what is neither there nor in here
            "has not been computed".
    """
    found = tuple(_table(table, workspace, failed or {}) for table in grid.tables)
    return Results(grid.name, grid.about, found, (), costs(grid, workspace), _made(grid, workspace))


def _table(table: Table, workspace: Workspace, failed: Mapping[str, str]) -> TableResults:
    cells: list[Cell] = []
    rows = list(lines(table))
    for who, metric in product(table.thieves, table.metrics):
        scored = {
            line.protection: scores_of(line, who, metric, table.seeds, workspace, failed)
            for line in rows
        }
        noise = {line.budget: line.protection for line in rows if line.arm == NOISE}
        for line in rows:
            against = {
                "against_clean": "none" if line.arm != CLEAN else "",
                "against_noise": noise[line.budget] if line.arm == PROTECTED else "",
                "against_rival": table.rival
                if line.arm == PROTECTED and line.protection != table.rival
                else "",
            }
            cells.append(_cell(table, line, who, metric, scored, against))
    names = tuple(line.protection for line in rows)
    return TableResults(
        table.name,
        table.about,
        tuple(s.name for s in table.subjects),
        table.seeds,
        table.metrics,
        tuple(w.name for w in table.thieves),
        names,
        table.rival,
        tuple(cells),
        _stealth(rows, workspace),
    )


def _cell(
    table: Table,
    line: Line,
    who: ThreatModel,
    metric: str,
    scored: Mapping[str, Scores | Missing],
    against: Mapping[str, str],
) -> Cell:
    module, mine = specs.module("metrics", metric), scored[line.protection]
    chain = "+".join(specs.word("purifiers", name, config) for name, config in who.purifiers)
    cell = Cell(
        table.name,
        line.protection,
        line.budget,
        who.name,
        who.attacker,
        chain,
        who.victim,
        metric,
        module.BETTER,
        module.UNIT,
    )
    if isinstance(mine, Missing):
        return replace(cell, failed=mine.reason, unscored=mine.unscored)
    theirs = {field: scored[other] for field, other in against.items() if other in scored}
    gaps = {
        field: difference(mine, other)
        for field, other in theirs.items()
        if not isinstance(other, Missing)
    }
    return replace(cell, mean=estimate(mine), **gaps)


@dataclass(frozen=True)
class Missing:
    """No scores."""

    reason: str
    """one sentence"""
    unscored: bool = False
    """there are pictures, and the metric cannot score them"""


def scores_of(
    line: Line,
    who: ThreatModel,
    metric: str,
    seeds: int,
    workspace: Workspace,
    failed: Mapping[str, str] | None = None,
) -> dict[str, dict[int, list[float]]] | Missing:
    """Photo set -> seed -> scores; or why there are none.

    Any that is missing is enough, for a mean over the rest would be another cell's.
    """
    found: dict[str, dict[int, list[float]]] = {}
    reasons = []
    for subject, seed in product(line.subjects, range(seeds)):
        step = score_step(line.arm, subject, who, seed, metric)
        name = steps.name_of(step, workspace)
        if not workspace.results.has(name):
            return Missing(
                f"{subject.name}, seed {seed}: {(failed or {}).get(name, 'it has not been computed.')}"
            )
        measured = compute.score(step, workspace)
        found.setdefault(subject.name, {})[seed] = measured.values
        reasons.append(measured.reason if math.isnan(measured.mean) else None)
    return Missing(reasons[0] or "", unscored=True) if all(reasons) else found


def _stealth(rows: Iterable[Line], workspace: Workspace) -> dict[str, dict[str, Estimate]]:
    found: dict[str, dict[str, Estimate]] = {}
    for line, metric in product((line for line in rows if line.arm == PROTECTED), STEALTH):
        wanted = {s.name: stealth_step(s, metric) for s in line.subjects}
        if all(steps.cached(step, workspace) for step in wanted.values()):
            values = {
                name: {0: compute.score(step, workspace).values} for name, step in wanted.items()
            }
            found.setdefault(line.protection, {})[metric] = estimate(values)
    return found


def costs(grid: Grid, workspace: Workspace) -> tuple[Cost, ...]:
    """What the grid's steps took, by method, the dearest first, as the store's records have it."""
    records: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, step in steps.graph(targets(grid), workspace).items():
        if (record := workspace.results.record(name)) and "cpu_seconds" in record:
            records.setdefault((step.kind, step.name), []).append(record)
    found = [
        Cost(
            *of,
            len(some),
            median(r["seconds"] for r in some),
            round(sum(r["cpu_seconds"] for r in some), 1),
            len({r["host"] for r in some}),
        )
        for of, some in records.items()
    ]
    return tuple(sorted(found, key=lambda cost: -cost.cpu_seconds))


def _made(grid: Grid, workspace: Workspace) -> dict[str, Any]:
    """All that is needed to do it again."""
    models, told = set(), {}
    for table in grid.tables:
        rows = [line for line in lines(table) if line.arm == PROTECTED]
        asked = [
            s.protected for line in rows for s in line.subjects[:1] if isinstance(s.protected, Step)
        ]
        models |= {name for step in asked for name in step.models} | {
            who.victim for who in table.thieves
        }
        told[table.name] = {
            "protections": {
                line.protection: asdict(step.config) for line, step in zip(rows, asked, strict=True)
            },
            "dtype": table.dtype,
            "thieves": [asdict(who) for who in table.thieves],
            "photos": {
                s.name: {"learned": s.clean.digests, "compared with": s.references.digests}
                for s in table.subjects
            },
            "side": table.subjects[0].clean.side,
        }
    return {
        "weights": {m: loading.weights(m) for m in sorted(models)},
        "surroundings": surroundings(workspace.torch_device),
        "tables": told,
    }
