"""How an audit's numbers come about: attackers are trained on every arm, scored and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

from cloakwork import specs
from cloakwork.errors import UserError
from cloakwork.evaluation import compute, statistics
from cloakwork.evaluation.design import (
    ARMS,
    CLEAN,
    NOISE,
    PROTECTED,
    STEALTH,
    Subject,
    ThreatModel,
    arms,
    attack_step,
    parse_metric,
    score_step,
    stealth_step,
)
from cloakwork.evaluation.statistics import Estimate, Scores
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.workflows.audit_results import Audit, AuditRow, conclusions, counted, worst_case
from cloakwork.workflows.audit_time import expectation
from cloakwork.workflows.workload import follow


def compare_all(
    subjects: Sequence[Subject],
    threat_models: Sequence[ThreatModel],
    metrics: Sequence[str],
    seeds: int,
    workspace: Workspace,
    say: Callable[[str], None] | None = None,
) -> Audit:
    """Train every attacker on every arm, subject and seed, score the pictures and compare.

    Args:
        subjects: photo sets.
        threat_models: attackers, what they know and have.
        metrics: names of metrics that score pictures.
        seeds: how many of 0, 1, 2 ...
        workspace: where the steps run; what its store holds is not computed again.
        say: called before the first training with a sentence on how long it takes, if that is
            known.

    Raises:
        UserError: no subject, threat model or seed.
    """
    attacks, rest = needed(subjects, threat_models, metrics, seeds)
    if say:
        for sentence in expectation(threat_models, attacks, workspace):
            say(sentence)
    if workspace.progress:
        follow(workspace, [*attacks, *rest], workspace.progress)
    for done, step in enumerate(attacks):
        if workspace.progress:
            workspace.progress("attackers", done, len(attacks))
        compute.pictures(step, workspace)
    if workspace.progress:
        workspace.progress("attackers", len(attacks), len(attacks))
    rows = [
        _row(threat, metric, *scores(subjects, threat, metric, seeds, workspace))
        for threat in threat_models
        for metric in metrics
    ]
    names = [s.name for s in subjects]
    results = Audit(rows, _stealth(subjects, workspace), [], names, seeds, worst=worst_case(rows))
    return replace(results, sentences=list(conclusions(results)), verdicts=list(counted(results)))


def needed(
    subjects: Sequence[Subject],
    threat_models: Sequence[ThreatModel],
    metrics: Sequence[str],
    seeds: int,
) -> tuple[list[Step], list[Step]]:
    """Return an audit's attackers, one a photo set, seed and arm, and the scores that it asks for.

    Raises:
        UserError: no subject, threat model or seed, or an unknown metric.
    """
    if not subjects or not threat_models or seeds < 1:
        raise UserError(
            "An audit needs photos, an attacker and at least one seed. Name what is missing."
        )
    for metric in metrics:
        parse_metric(metric)  # a mistyped one is told before the first training
    attacks = [
        attack_step(arms(subject, seed)[arm], subject, threat, seed)
        for threat, subject, seed, arm in product(threat_models, subjects, range(seeds), ARMS)
    ]
    return attacks, list(_scoring(subjects, threat_models, metrics, seeds))


def _scoring(
    subjects: Sequence[Subject],
    threat_models: Sequence[ThreatModel],
    metrics: Sequence[str],
    seeds: int,
) -> Iterator[Step]:
    """Yield the scores of an audit in the order in which `compare_all` asks for them."""
    for threat, metric in product(threat_models, metrics):
        for subject, seed, arm in product(subjects, range(seeds), ARMS):
            yield score_step(arm, subject, threat, seed, metric)
    for metric, subject in product(STEALTH, subjects):
        yield stealth_step(subject, metric)


def scores(
    subjects: Sequence[Subject], threat: ThreatModel, metric: str, seeds: int, workspace: Workspace
) -> tuple[Mapping[str, Scores], str | None]:
    """Return one attacker's scores by one metric.

    Returns:
        Arm -> scores, and the reason why some are unscored, if some are.
    """
    tables: dict[str, dict[str, dict[int, list[float]]]] = {arm: {} for arm in ARMS}
    reasons = []
    for subject, seed, arm in product(subjects, range(seeds), ARMS):
        found = compute.score(score_step(arm, subject, threat, seed, metric), workspace)
        tables[arm].setdefault(subject.name, {})[seed] = found.values
        reasons += [found.reason] if found.reason else []
    return tables, reasons[0] if reasons else None


def _row(
    threat: ThreatModel, metric: str, tables: Mapping[str, Scores], reason: str | None
) -> AuditRow:
    """Return one row of the audit's table."""
    module = specs.module("metrics", metric)
    return AuditRow(
        threat.name,
        threat.victim,
        metric,
        module.METRIC.better,
        module.METRIC.unit,
        {arm: statistics.estimate(table) for arm, table in tables.items()},
        statistics.difference(tables[PROTECTED], tables[CLEAN]),
        statistics.difference(tables[PROTECTED], tables[NOISE]),
        statistics.difference(tables[NOISE], tables[CLEAN]),
        reason,
    )


def _stealth(subjects: Sequence[Subject], workspace: Workspace) -> dict[str, Estimate]:
    """Return how far the protected photos are from their originals, by metric."""
    return {
        metric: statistics.estimate(
            {
                s.name: {0: compute.score(stealth_step(s, metric), workspace).values}
                for s in subjects
            }
        )
        for metric in STEALTH
    }
