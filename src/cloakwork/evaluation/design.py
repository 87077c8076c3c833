"""What an audit compares: a thief of clean photos, one of photos with random noise of the same
budget, one of protected photos.

A protection works when a thief gets measurably less from protected photos than from clean ones
*and* than from photos with random sign noise of the same budget. The three thieves draw the same
batches and the same sampling noise, so their pictures pair up; see intervals.py for what the
intervals mean.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from cloakwork import registry, specs
from cloakwork.evaluation import steps
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.steps import Mix, Step

CLEAN, NOISE, PROTECTED = ARMS = ("clean", "noise", "protected")
STEALTH = ("linf", "psnr", "ssim", "lpips")
# a thief whose pictures match the person less often than this on clean photos has nothing to lose
MIN_CLEAN_MATCH_RATE = 0.3


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
class ThreatModel:
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


def arms(subject: Subject, seed: int) -> dict[str, Source | Step]:
    """What each thief learns from."""
    noise = registry.load("protections", "noise")
    noisy = Step("protect", "noise", noise.Config(budget=subject.budget), (subject.clean,), seed)
    return {CLEAN: subject.clean, NOISE: noisy, PROTECTED: subject.protected}


def attack_step(photos: Source | Step, subject: Subject, thief: ThreatModel, seed: int) -> Step:
    """The thief's whole way from photos to pictures: mixing in clean photos, purifiers, training,
    sampling.
    """
    if thief.clean_share:
        photos = Step("mix", "mix", Mix(thief.clean_share), (photos, subject.clean))
    purifiers = [(name, with_noun(config, subject.noun)) for name, config in thief.purifiers]
    photos = steps.purify_steps(
        photos, purifiers, model=thief.victim, denoiser=thief.denoiser, seed=seed, dtype=thief.dtype
    )
    prompts = tuple(p.replace("person", subject.noun) for p in thief.prompts)
    config = with_noun(thief.config, subject.noun)
    return Step(
        "attack", thief.attacker, config, (photos,), seed, (thief.victim,), prompts, thief.dtype
    )


def with_noun(config: Any, noun: str) -> Any:
    """A Config whose prompts speak of another noun than "person"."""
    prompts = [f.name for f in fields(config) if f.name.endswith("prompt")]
    return replace(
        config, **{name: getattr(config, name).replace("person", noun) for name in prompts}
    )


def score_step(arm: str, subject: Subject, thief: ThreatModel, seed: int, metric: str) -> Step:
    """One metric of what a thief gets from an arm, against the subject's clean photos.

    A metric that compares with originals, such as LPIPS, compares with what the same thief gets
    from clean photos with the same noise: edits of a photo have no other original.
    """
    (name, config), photos = parse_metric(metric), arms(subject, seed)
    attack = attack_step(photos[arm], subject, thief, seed)
    paired = registry.load("metrics", name).REFERENCE == "originals"
    other = attack_step(photos[CLEAN], subject, thief, seed) if paired else subject.references
    return Step("score", name, config, (attack, other), prompts=attack.prompts)


@cache
def parse_metric(word: str) -> tuple[str, Any]:
    """Name and Config of a metric written as in `specs.parse`; kept, since grids ask for the same
    few thousands of times.
    """
    return specs.parse("metrics", word)


def stealth_step(subject: Subject, metric: str) -> Step:
    """How visible the protection is: protected photos against their originals, at their own
    size.
    """
    return Step(
        "score",
        metric,
        registry.load("metrics", metric).Config(),
        (subject.protected, subject.clean),
    )
