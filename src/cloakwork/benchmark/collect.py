"""What came out of a grid, read from the store: means, intervals, costs, and how it was made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from statistics import median
from typing import Any

from cloakwork import specs
from cloakwork.benchmark.execution.failures import Failure, FailureKind
from cloakwork.benchmark.grids import Grid, Line, Table, lines, targets
from cloakwork.benchmark.results import Cell, Cost, Results, TableResults
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
class Missing:
    """Why there are no scores."""

    reason: str
    """one sentence"""
    unscored: bool = False
    """there are pictures, and the metric cannot score them"""
    kind: FailureKind | None = None
    """of the failure, where a step has failed"""


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
        asked = _protections(table)
        weights |= {who.victim: pipelines.weights(who.victim) for who in table.threat_models}
        for step in asked.values():
            hashes = [digest for digest, _ in workspace.weight_hashes(step)]
            weights |= dict(zip(step.models, hashes, strict=True))
        tables[table.name] = {
            "protections": {name: asdict(step.config) for name, step in asked.items()},
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


def _protections(table: Table) -> dict[str, Step]:
    """Return the step of each protection of a table, that of its first photo set."""
    return {
        line.protection: step
        for line in lines(table)
        if line.arm == PROTECTED and isinstance(step := line.subjects[0].protected, Step)
    }
