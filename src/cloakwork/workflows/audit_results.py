"""What an audit found: rows of its table, and what they mean in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from cloakwork.evaluation import statistics
from cloakwork.evaluation.design import ARMS, CLEAN, MIN_CLEAN_MATCH_RATE, NOISE, PROTECTED
from cloakwork.evaluation.statistics import Estimate
from cloakwork.workflows import shown, verdicts
from cloakwork.workflows.shown import Summary


@dataclass(frozen=True)
class AuditRow:
    """One metric under one threat model: the three arms, and what the protection changed against
    clean photos and against noise.
    """

    threat_model: str
    victim: str
    metric: str
    better: str
    """which way the pictures are better for the attacker: "higher", "lower" or "" """
    unit: str
    arms: dict[str, Estimate]
    against_clean: Estimate
    against_noise: Estimate
    noise_against_clean: Estimate
    """what random noise of the same budget changed"""
    reason: str | None = None
    """why it is unscored, where it is"""


@dataclass(frozen=True)
class Audit:
    """The results of an audit."""

    rows: list[AuditRow]
    stealth: dict[str, Estimate]
    sentences: list[str]
    """what the numbers show, and what they do not show"""
    subjects: list[str]
    seeds: int
    verdicts: list[str] = field(default_factory=list)
    """one an attacker, in counts of pictures; where there are several, the worst case first"""
    worst: str = ""
    """the attacker who gets most from the protected photos; "" where there is but one, or none was
    scored"""

    @property
    def summary(self) -> Summary:
        """What is shown of it."""
        rows = [
            {
                "attacker": row.threat_model,
                "victim": row.victim,
                "metric": row.metric,
                "unit": row.unit,
            }
            | {arm: row.arms[arm].mean for arm in ARMS}
            | _columns("protected - clean", row.against_clean)
            | _columns("protected - noise", row.against_noise)
            for row in self.rows
        ]
        sets = f"{len(self.subjects)} photo set{'s' * (len(self.subjects) != 1)}"
        who = ", ".join(dict.fromkeys(f"{row.threat_model} on {row.victim}" for row in self.rows))
        seeds = f"{self.seeds} seed{'s' * (self.seeds != 1)}"
        notes = [*self.verdicts, *self.sentences]
        return Summary(f"Audit of {sets}, {seeds}: {who}.", rows, notes)

    def __repr__(self) -> str:
        return shown.text(self.summary)

    def _repr_html_(self) -> str:
        return shown.html(self.summary)

    def frame(self) -> Any:
        """Return the table as a pandas DataFrame."""
        return shown.frame(self.summary)


def _columns(name: str, value: Estimate) -> dict[str, float]:
    """Return a difference and its interval as columns of a table."""
    return {name: value.mean, f"{name}, low": value.low, f"{name}, high": value.high}


def conclusions(found: Audit) -> Iterator[str]:
    """Yield the audit in sentences.

    They name what could not be measured, what each attacker got, and what that does not show.
    """
    for reason in dict.fromkeys(row.reason for row in found.rows if row.reason):
        names = dict.fromkeys(row.metric for row in found.rows if row.reason == reason)
        yield f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'} unscored: {reason}"
    for row in found.rows:
        if row.metric == "match":
            yield _sentence(row)
            if advice := verdicts.what_next(row.arms, row.against_clean, row.against_noise):
                yield advice
    for row in _matches(found.rows):
        if row.threat_model == found.worst and not row.against_noise.high < 0:
            yield (
                f"The worst case, {row.threat_model}, is not shown to be less than from random "
                "noise that went the same way."
            )
    sets, seeds = len(found.subjects), found.seeds
    if sets < statistics.FEWEST_SETS or seeds < 2:
        counted = f"{sets} photo set{'s' * (sets > 1)}, {seeds} seed{'s' * (seeds > 1)}"
        yield f"Indicative only: {counted}."
    victims = ", ".join(sorted({row.victim for row in found.rows}))
    yield (f"Measured on {victims}. This says nothing about other models, attackers or editing.")


def counted(found: Audit) -> Iterator[str]:
    """Yield what each attacker got in counts of pictures, where faces could be looked for; the
    worst case comes first.
    """
    rows = sorted(_matches(found.rows), key=lambda row: row.threat_model != found.worst)
    for row in rows:
        if told := verdicts.match_counts(row.arms):
            worst = f"Worst case of {len(rows)}, " if row.threat_model == found.worst else ""
            yield f"{worst}{row.threat_model}: {told}" if len(rows) > 1 else told


def worst_case(rows: Sequence[AuditRow]) -> str:
    """Return the attacker whose pictures of protected photos match most often.

    Of those who get as much, the one that gets least from clean photos that went the same way.
    """
    scored = [row for row in _matches(rows) if not any(math.isnan(row.arms[a].mean) for a in ARMS)]
    if len(scored) < 2:
        return ""
    return max(
        scored, key=lambda row: (row.arms[PROTECTED].mean, -row.arms[CLEAN].mean)
    ).threat_model


def _matches(rows: Sequence[AuditRow]) -> list[AuditRow]:
    """Return the rows of match rates."""
    return [row for row in rows if row.metric.partition(":")[0] == "match"]


def _sentence(row: AuditRow) -> str:
    """Return what the match rates of one threat model show."""
    where = f"On {row.victim}, {row.threat_model}"
    clean, noise, protected = (row.arms[a] for a in ARMS)
    if math.isnan(clean.mean):
        return f"{where}: no face could be looked for, so the match rate is unscored."
    shown = (
        f"match rate {clean.mean:.2f} clean, {noise.mean:.2f} noise, "
        f"{protected.mean:.2f} protected [{protected.low:.2f}, {protected.high:.2f}]"
    )
    if clean.mean < MIN_CLEAN_MATCH_RATE:
        return f"{where}: {shown}. Inconclusive: this attacker fails even on clean photos."
    less = [
        name for name, d in ((CLEAN, row.against_clean), (NOISE, row.against_noise)) if d.high < 0
    ]
    verdict = {
        2: "less than from clean photos and than from noise of the same budget",
        1: f"less than from {less[0] if less else ''} alone",
        0: "no less, as far as can be told",
    }[len(less)]
    return f"{where}: {shown}: {verdict}."
