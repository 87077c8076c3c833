"""What an audit compares: a thief of clean photos, one of photos with random noise of the same budget, one of protected photos.

A protection works when a thief gets measurably less from protected photos than from clean ones *and* than from photos with
random sign noise of the same budget. The three thieves draw the same batches and the same sampling noise, so their pictures
pair up; see intervals.py for what the intervals mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from itertools import product
from typing import Any

from cloakwork import intervals, registry, specs, steps
from cloakwork.errors import UserError
from cloakwork.intervals import Estimate, Scores
from cloakwork.sources import Source
from cloakwork.steps import Bench, Mix, Step

CLEAN, NOISE, PROTECTED = ARMS = ("clean", "noise", "protected")
STEALTH = ("linf", "psnr", "ssim", "lpips")
WORKS = 0.3  # a thief whose pictures match the person less often than this on clean photos has nothing to lose


@dataclass(frozen=True)
class Subject:
    """One photo set under audit; clean and protected photos pair up by position."""

    name: str
    clean: Source
    protected: Source | Step
    budget: float
    """of the noise that the protection is compared with, 1/255"""
    references: Source
    """clean photos that pictures are compared with"""
    noun: str = "person"
    """what the thief calls it, where prompts say "person" """
    known: Source | None = None
    """further clean photos, which the protector may learn from (set A)"""


@dataclass(frozen=True)
class Thief:
    """An attacker and its circumstances."""

    attacker: str
    config: Any
    victim: str = "tiny"
    prompts: tuple[str, ...] = ("a photo of sks person",)
    clean_share: float = 0.0
    """share of the photos that the thief got hold of before they were protected"""
    purifiers: tuple[tuple[str, Any], ...] = ()
    """what it runs the photos through first: names and Configs"""
    denoiser: str = "tiny"
    """what purifiers that diffuse pixels use"""
    dtype: str = "float32"
    """what the victim computes in"""
    label: str = ""

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.label or self.attacker


@dataclass(frozen=True)
class Row:
    """One metric under one thief: the three arms, and what the protection changed against either."""

    thief: str
    victim: str
    metric: str
    better: str
    """which way the pictures are better for the thief: "higher", "lower" or "" """
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
    """What an audit found."""

    rows: list[Row]
    stealth: dict[str, Estimate]
    sentences: list[str]
    """what it means, in words; the honest ones included"""
    subjects: list[str]
    seeds: int


def arms(subject: Subject, seed: int) -> dict[str, Source | Step]:
    """What each thief learns from."""
    noise = registry.load("protections", "noise")
    noisy = Step("protect", "noise", noise.Config(budget=subject.budget), (subject.clean,), seed)
    return {CLEAN: subject.clean, NOISE: noisy, PROTECTED: subject.protected}


def attack_step(photos: Source | Step, subject: Subject, thief: Thief, seed: int) -> Step:
    """The thief's whole way from photos to pictures: mixing in clean photos, purifiers, training, sampling."""
    if thief.clean_share:
        photos = Step("mix", "mix", Mix(thief.clean_share), (photos, subject.clean))
    purifiers = [(name, about(config, subject.noun)) for name, config in thief.purifiers]
    photos = steps.purified(photos, purifiers, model=thief.victim, denoiser=thief.denoiser, seed=seed, dtype=thief.dtype)
    prompts = tuple(p.replace("person", subject.noun) for p in thief.prompts)
    config = about(thief.config, subject.noun)
    return Step("attack", thief.attacker, config, (photos,), seed, (thief.victim,), prompts, thief.dtype)


def about(config: Any, noun: str) -> Any:
    """A Config whose prompts speak of another noun than "person"."""
    prompts = [f.name for f in fields(config) if f.name.endswith("prompt")]
    return replace(config, **{name: getattr(config, name).replace("person", noun) for name in prompts})


def score_step(arm: str, subject: Subject, thief: Thief, seed: int, metric: str) -> Step:
    """One metric of what a thief gets from an arm, against the subject's clean photos.

    A metric that compares with originals, such as LPIPS, compares with what the same thief gets from clean photos with the same
    noise: edits of a photo have no other original.
    """
    (name, config), photos = _metric(metric), arms(subject, seed)
    attack = attack_step(photos[arm], subject, thief, seed)
    paired = registry.load("metrics", name).REFERENCE == "originals"
    other = attack_step(photos[CLEAN], subject, thief, seed) if paired else subject.references
    return Step("score", name, config, (attack, other), prompts=attack.prompts)


@cache
def _metric(word: str) -> tuple[str, Any]:
    """Name and Config of a metric written as in `specs.parse`; kept, since grids ask for the same few thousands of times."""
    return specs.parse("metrics", word)


def stealth_step(subject: Subject, metric: str) -> Step:
    """How visible the protection is: protected photos against their originals, at their own size."""
    return Step("score", metric, registry.load("metrics", metric).Config(), (subject.protected, subject.clean))


def compare_all(subjects: Sequence[Subject], thieves: Sequence[Thief], metrics: Sequence[str], seeds: int, bench: Bench) -> Audit:
    """Trains every thief on every arm of every subject with every seed, scores, compares.

    Args:
        subjects: photo sets.
        thieves: attackers with their circumstances.
        metrics: names of metrics that score pictures.
        seeds: how many of 0, 1, 2 ...
        bench: where the steps run; what its store holds is not computed again.

    Raises:
        UserError: no subject, thief or seed.
    """
    if not subjects or not thieves or seeds < 1:
        raise UserError("An audit needs photos, a thief and at least one seed; none of the three may be missing.")
    for metric in metrics:
        _metric(metric)  # a mistyped one is told before the first training
    cells = list(product(thieves, subjects, range(seeds), ARMS))
    for done, (thief, subject, seed, arm) in enumerate(cells):
        if bench.progress:
            bench.progress("thieves", done, len(cells))
        steps.pictures(attack_step(arms(subject, seed)[arm], subject, thief, seed), bench)
    if bench.progress:
        bench.progress("thieves", len(cells), len(cells))
    rows = [_row(thief, metric, *scores(subjects, thief, metric, seeds, bench)) for thief in thieves for metric in metrics]
    found = Audit(rows, _stealth(subjects, bench), [], [s.name for s in subjects], seeds)
    return replace(found, sentences=list(conclusions(found)))


def scores(
    subjects: Sequence[Subject], thief: Thief, metric: str, seeds: int, bench: Bench
) -> tuple[Mapping[str, Scores], str | None]:
    """Of one thief's pictures by one metric: arm -> scores, and why some could not be scored."""
    tables: dict[str, dict[str, dict[int, list[float]]]] = {arm: {} for arm in ARMS}
    reasons = []
    for subject, seed, arm in product(subjects, range(seeds), ARMS):
        found = steps.score(score_step(arm, subject, thief, seed, metric), bench)
        tables[arm].setdefault(subject.name, {})[seed] = found.values
        reasons += [found.reason] if found.reason else []
    return tables, reasons[0] if reasons else None


def _row(thief: Thief, metric: str, tables: Mapping[str, Scores], reason: str | None) -> Row:
    """One row of the audit's table."""
    module = specs.module("metrics", metric)
    return Row(thief.name, thief.victim, metric, module.BETTER, module.UNIT,
               {arm: intervals.estimate(table) for arm, table in tables.items()},
               intervals.difference(tables[PROTECTED], tables[CLEAN]),
               intervals.difference(tables[PROTECTED], tables[NOISE]), intervals.difference(tables[NOISE], tables[CLEAN]),
               reason)  # fmt: skip


def _stealth(subjects: Sequence[Subject], bench: Bench) -> dict[str, Estimate]:
    return {
        metric: intervals.estimate({s.name: {0: steps.score(stealth_step(s, metric), bench).values} for s in subjects})
        for metric in STEALTH
    }


def conclusions(found: Audit) -> Iterator[str]:
    """The audit in words: what could not be measured, what each thief got, what that shows, and what it does not."""
    for reason in dict.fromkeys(row.reason for row in found.rows if row.reason):
        names = dict.fromkeys(row.metric for row in found.rows if row.reason == reason)
        yield f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'} unscored: {reason}"
    for row in found.rows:
        if row.metric == "match":
            yield _sentence(row)
    sets, seeds = len(found.subjects), found.seeds
    if sets < intervals.FEWEST_SETS or seeds < 2:
        yield f"Indicative only: {sets} photo set{'s' * (sets > 1)}, {seeds} seed{'s' * (seeds > 1)}."
    victims = sorted({row.victim for row in found.rows})
    yield f"Measured on {', '.join(victims)}; this says nothing of other models, other thieves or editing."


def _sentence(row: Row) -> str:
    clean, noise, protected = (row.arms[a] for a in ARMS)
    if math.isnan(clean.mean):
        return f"On {row.victim}, {row.thief}: whether the thief got the person is unscored."
    shown = (
        f"match rate {clean.mean:.2f} clean, {noise.mean:.2f} noise, {protected.mean:.2f} protected "
        f"[{protected.low:.2f}, {protected.high:.2f}]"
    )
    if clean.mean < WORKS:
        return f"On {row.victim}, {row.thief}: {shown}. This thief fails on clean photos already, so nothing is shown."
    less = [name for name, d in ((CLEAN, row.against_clean), (NOISE, row.against_noise)) if d.high < 0]
    verdict = {
        2: "less than from clean photos and than from noise of the same budget",
        1: f"less than from {less[0] if less else ''} alone",
        0: "no less, as far as can be told",
    }[len(less)]
    return f"On {row.victim}, {row.thief}: {shown}: {verdict}."
