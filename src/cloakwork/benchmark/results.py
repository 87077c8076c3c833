"""What came out of a grid: cells with their intervals, read from the store."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from statistics import median
from typing import Any, Protocol

from cloakwork import specs
from cloakwork.benchmark.execution.failures import Failure, FailureKind
from cloakwork.benchmark.grids import Grid, Line, Table, lines, targets
from cloakwork.environment import surroundings
from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.design import (
    CLEAN,
    NOISE,
    PROTECTED,
    ThreatModel,
    score_step,
    stealth_step,
)
from cloakwork.evaluation.statistics import Estimate, Scores, difference, estimate
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.models import pipelines
from cloakwork.specs import Method


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
    """one of flags.FLAG_KINDS"""
    where: str
    """the cells that it is about, in words"""
    text: str
    """a sentence for people"""


class Spread(Protocol):
    """An interval."""

    @property
    def low(self) -> float:
        """Its lower end."""
        ...

    @property
    def high(self) -> float:
        """Its upper end."""
        ...


def strongest(cells: Iterable[Cell]) -> Cell | None:
    """Return the cell of the attacker who gets most; None where no cell has a number, or the metric
    has no better side.
    """
    scored = [
        (c.mean.mean * (-1 if c.better == "lower" else 1), c)
        for c in cells
        if c.mean and not math.isnan(c.mean.mean) and c.better
    ]
    return max(scored, key=lambda pair: pair[0])[1] if scored else None


def beats_both(better: str, clean: Spread | None, noise: Spread | None) -> bool | None:
    """Return whether an attacker gets less than from clean photos and than from noise.

    Args:
        better: which way is better for it: "higher", "lower" or "".
        clean: the difference to clean photos.
        noise: the difference to noise.

    Returns:
        None where neither way is better, or a difference is missing.
    """
    if clean is None or noise is None or not better:
        return None
    if better == "higher":
        return clean.high < 0 and noise.high < 0
    return clean.low > 0 and noise.low > 0


@dataclass(frozen=True)
class Cell:
    """One protection under one attacker, by one metric."""

    table: str
    protection: str
    """as the recipe writes it; "none" and "noise" are the controls"""
    budget: float
    """1/255; 0 for none"""
    threat_model: str
    """label of the threat model"""
    attacker: str
    """its method"""
    purifiers: str
    """joined by +; "" for none"""
    victim: str
    metric: str
    better: str
    """which way the pictures are better for the attacker: "higher", "lower" or "" """
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
        """Return what became of the number: "failed", "unscored", or "" where there is one."""
        if self.mean and not self.failed:
            return ""
        return "failed" if self.failed and not self.unscored else "unscored"

    @property
    def works(self) -> bool | None:
        """Return whether the attacker gets less than from clean photos and than from noise.

        Both intervals must lie on the attacker's worse side. None for controls, for metrics
        without a better side, and for what failed.
        """
        return beats_both(self.better, self.against_clean, self.against_noise)


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
    threat_models: tuple[str, ...]
    """labels, the standard one first"""
    protections: tuple[str, ...]
    """none and noise first"""
    rival: str
    cells: tuple[Cell, ...]
    stealth: dict[str, dict[str, Estimate]]
    """protection -> metric -> protected photos against their originals; what failed is left out"""
    stealth_unscored: dict[str, str] = field(default_factory=dict)
    """metric -> why it says nothing of them, one sentence"""


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
    attackers, when"""


def collect(
    grid: Grid, workspace: Workspace, failures: Mapping[str, Failure] | None = None
) -> Results:
    """Read a grid's scores from the store; compute nothing but means and intervals.

    Args:
        grid: tables.
        workspace: with the store.
        failures: names of results that could not be made, and why (see `Outcome.reasons`); what is
            neither in the store nor in here "has not been computed".
    """
    tables = tuple(_table(table, workspace, failures or {}) for table in grid.tables)
    spent = costs(grid, workspace)
    return Results(grid.name, grid.about, tables, (), spent, _made(grid, workspace))


def _table(table: Table, workspace: Workspace, failures: Mapping[str, Failure]) -> TableResults:
    cells: list[Cell] = []
    table_lines = list(lines(table))
    for who, metric in product(table.threat_models, table.metrics):
        scored = {
            line.protection: scores_of(line, who, metric, table.seeds, workspace, failures)
            for line in table_lines
        }
        noise = {line.loudness: line.protection for line in table_lines if line.arm == NOISE}
        for line in table_lines:
            against = {
                "against_clean": "none" if line.arm != CLEAN else "",
                "against_noise": noise[line.loudness] if line.arm == PROTECTED else "",
                "against_rival": table.rival
                if line.arm == PROTECTED and line.protection != table.rival
                else "",
            }
            cells.append(_cell(table, line, who, metric, scored, against))
    names = tuple(line.protection for line in table_lines)
    return TableResults(
        table.name,
        table.about,
        tuple(s.name for s in table.subjects),
        table.seeds,
        table.metrics,
        tuple(w.name for w in table.threat_models),
        names,
        table.rival,
        tuple(cells),
        *_stealth(table, table_lines, workspace),
    )


def _cell(
    table: Table,
    line: Line,
    who: ThreatModel,
    metric: str,
    scored: Mapping[str, Scores | Missing],
    against: Mapping[str, str],
) -> Cell:
    module, scores = specs.module("metrics", metric), scored[line.protection]
    chain = "+".join(specs.word(method) for method in who.purifiers)
    cell = Cell(
        table.name,
        line.protection,
        line.budget,
        who.name,
        who.attacker.name,
        chain,
        who.victim,
        metric,
        module.METRIC.better,
        module.METRIC.unit,
    )
    if isinstance(scores, Missing):
        return replace(cell, failed=scores.reason, unscored=scores.unscored)
    others = {field: scored[name] for field, name in against.items() if name in scored}
    gaps = {
        field: difference(scores, other)
        for field, other in others.items()
        if not isinstance(other, Missing)
    }
    return replace(cell, mean=estimate(scores), **gaps)


@dataclass(frozen=True)
class Missing:
    """Why there are no scores."""

    reason: str
    """one sentence"""
    unscored: bool = False
    """there are pictures, and the metric cannot score them"""
    kind: FailureKind | None = None
    """of the failure, where a step has failed"""


def scores_of(
    line: Line,
    who: ThreatModel,
    metric: str,
    seeds: int,
    workspace: Workspace,
    failures: Mapping[str, Failure] | None = None,
) -> dict[str, dict[int, list[float]]] | Missing:
    """Read the scores of a cell from the store.

    Returns:
        Photo set -> seed -> scores; or why there are none, for which a single one that is missing
            is enough: a mean over the rest would be another cell's.
    """
    scores: dict[str, dict[int, list[float]]] = {}
    reasons = []
    for subject, seed in product(line.subjects, range(seeds)):
        step = score_step(line.arm, subject, who, seed, metric)
        name = steps.name_of(step, workspace)
        if not workspace.results.has(name):
            failure = (failures or {}).get(name, Failure("it has not been computed."))
            return Missing(f"{subject.name}, seed {seed}: {failure.reason}", kind=failure.kind)
        measured = compute.score(step, workspace)
        scores.setdefault(subject.name, {})[seed] = measured.values
        reasons.append(measured.reason if math.isnan(measured.mean) else None)
    return Missing(reasons[0] or "", unscored=True) if all(reasons) else scores


def _stealth(
    table: Table, table_lines: Iterable[Line], workspace: Workspace
) -> tuple[dict[str, dict[str, Estimate]], dict[str, str]]:
    """Return how far protected photos are from their originals, and why some metrics are unscored.

    As of `TableResults.stealth` and `stealth_unscored`.
    """
    estimates: dict[str, dict[str, Estimate]] = {}
    unscored: dict[str, str] = {}
    protected = [line for line in table_lines if line.arm == PROTECTED]
    for line, metric in product(protected, table.stealth):
        wanted = {s.name: stealth_step(s, metric) for s in line.subjects}
        if all(steps.cached(step, workspace) for step in wanted.values()):
            found = {name: compute.score(step, workspace) for name, step in wanted.items()}
            mean = estimate({name: {0: scored.values} for name, scored in found.items()})
            estimates.setdefault(line.protection, {})[metric] = mean
            reasons = [scored.reason for scored in found.values() if scored.reason]
            if math.isnan(mean.mean) and reasons:
                unscored[metric] = reasons[0]
    return estimates, unscored


def costs(grid: Grid, workspace: Workspace) -> tuple[Cost, ...]:
    """Read from the store's records what the grid's steps took, by method, the dearest first."""
    records: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, step in steps.graph(targets(grid), workspace).items():
        record = workspace.results.record(name)
        if {"seconds", "cpu_seconds", "host"} <= record.keys():
            records.setdefault((step.kind, step.name), []).append(record)
    totals = [
        Cost(
            kind,
            name,
            len(finished),
            median(r["seconds"] for r in finished),
            round(sum(r["cpu_seconds"] for r in finished), 1),
            len({r["host"] for r in finished}),
        )
        for (kind, name), finished in records.items()
    ]
    return tuple(sorted(totals, key=lambda cost: -cost.cpu_seconds))


def _made(grid: Grid, workspace: Workspace) -> dict[str, Any]:
    """Return all that is needed to do it again."""
    weights, tables = {}, {}
    for table in grid.tables:
        rows = [line for line in lines(table) if line.arm == PROTECTED]
        asked = [
            s.protected for line in rows for s in line.subjects[:1] if isinstance(s.protected, Step)
        ]
        weights |= {who.victim: pipelines.weights(who.victim) for who in table.threat_models}
        for step in asked:
            hashes = [digest for digest, _ in workspace.weight_hashes(step)]
            weights |= dict(zip(step.models, hashes, strict=True))
        tables[table.name] = {
            "protections": {
                line.protection: asdict(step.config) for line, step in zip(rows, asked, strict=True)
            },
            "surrogates": table.surrogates,
            "dtype": table.dtype,
            "thieves": [asdict(who) for who in table.threat_models],
            "photos": {
                s.name: {"learned": s.clean.digests, "compared with": s.references.digests}
                for s in table.subjects
            },
            "side": table.subjects[0].clean.side,
        }
    wanted = steps.graph(targets(grid), workspace)
    methods = {(s.kind, s.name): s.method for s in wanted.values() if s.kind != "mix"}
    dates = sorted(filter(None, (workspace.results.record(n).get("when") for n in wanted)))
    return {
        # of the steps' own records, not of the writing: the same findings are the same bytes
        "dates": {"first step": dates[0], "last step": dates[-1]} if dates else {},
        "methods": {
            f"{kind} {name}": f"VERSION {method.version}"
            + (f", source {method.source}" if method.source else "")
            for (kind, name), method in sorted(methods.items())
            if isinstance(method, Method)
        },
        "weights": dict(sorted(weights.items())),
        "surroundings": surroundings(workspace.torch_device),
        "tables": tables,
    }
