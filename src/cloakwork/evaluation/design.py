"""What an audit compares: an attacker of clean photos, one of photos with random noise of the same
budget, one of protected photos.

A protection works when an attacker gets measurably less from protected photos than from clean ones
*and* than from photos with random sign noise of the same budget. The three draw the same batches
and the same sampling noise, so their pictures pair up; see statistics.py for what the intervals
mean.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from cloakwork import registry, specs
from cloakwork.evaluation import steps
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.steps import Mix, Step
from cloakwork.specs import Method
from cloakwork.types import Strength

CLEAN, NOISE, PROTECTED = ARMS = ("clean", "noise", "protected")
# what protected photos are compared with their originals by; `dists` needs a network that is named
STEALTH = ("linf", "psnr", "ssim", "lpips", "noticed")
# an attacker whose pictures match the person less often on clean photos has nothing to lose
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
    """what the attacker calls it, where prompts say "person" """
    known: Source | None = None
    """further clean photos, which the protector may learn from (set A)"""
    strength: Strength = "uniform"
    """of that noise too: how its budget follows the photo"""


@dataclass(frozen=True)
class ThreatModel:
    """An attacker, what it knows and what it has."""

    attacker: Method
    victim: str = "tiny"
    prompts: tuple[str, ...] = ("a photo of sks person",)
    clean_share: float = 0.0
    """share of the photos that the attacker got hold of before they were protected"""
    purifiers: tuple[Method, ...] = ()
    """what it runs the photos through first"""
    denoiser: str = "tiny"
    """what purifiers that diffuse pixels use"""
    dtype: str = "float32"
    """what the victim computes in"""
    label: str = ""

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.label or self.attacker.name

    @property
    def config(self) -> Any:
        """The attacker's Config."""
        return self.attacker.config

    def record(self) -> dict[str, Any]:
        """Return the threat model as it stands in records."""
        name, config = self.attacker.record()
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "attacker"}
        purifiers = [method.record() for method in self.purifiers]
        return {"attacker": name, "config": config} | rest | {"purifiers": purifiers}

    def with_config(self, **changes: Any) -> ThreatModel:
        """Return the threat model with some fields of its attacker's Config changed."""
        return replace(
            self, attacker=replace(self.attacker, config=replace(self.config, **changes))
        )


def arms(subject: Subject, seed: int) -> dict[str, Source | Step]:
    """Return what each attacker learns from, by arm; the seed is that of the noise."""
    config = registry.load("protections", "noise").Config(
        budget=subject.budget, strength=subject.strength
    )
    noisy = Step(Method("protections", "noise", config), (subject.clean,), seed)
    return {CLEAN: subject.clean, NOISE: noisy, PROTECTED: subject.protected}


def attack_step(photos: Source | Step, subject: Subject, threat: ThreatModel, seed: int) -> Step:
    """Return the attacker's whole way from photos to pictures.

    It mixes in clean photos, runs purifiers, trains and samples, as far as the threat model says.
    """
    if threat.clean_share:
        photos = Step(Mix(threat.clean_share), (photos, subject.clean))
    photos = steps.purify_steps(
        photos,
        [with_noun(method, subject.noun) for method in threat.purifiers],
        model=threat.victim,
        denoiser=threat.denoiser,
        seed=seed,
        dtype=threat.dtype,
    )
    prompts = tuple(p.replace("person", subject.noun) for p in threat.prompts)
    attacker = with_noun(threat.attacker, subject.noun)
    return Step(attacker, (photos,), seed, (threat.victim,), prompts, threat.dtype)


def with_noun(method: Method, noun: str) -> Method:
    """Return a method whose prompts speak of another noun than "person".

    Prompts are the fields that its module marks by `registry.SUBJECT_PROMPT`.
    """
    prompts = [f.name for f in fields(method.config) if f.metadata.get("subject_prompt")]
    changes = {name: getattr(method.config, name).replace("person", noun) for name in prompts}
    return replace(method, config=replace(method.config, **changes))


def score_step(arm: str, subject: Subject, threat: ThreatModel, seed: int, metric: str) -> Step:
    """Return the step of one metric of an attacker's pictures, from one arm.

    Pictures are compared with the subject's clean photos. A metric that compares with originals,
    such as LPIPS, compares with the same attacker's pictures from clean photos with the same noise:
    edits of a photo have no other original.
    """
    method, photos = parse_metric(metric), arms(subject, seed)
    attack = attack_step(photos[arm], subject, threat, seed)
    paired = method.module.METRIC.reference == "originals"
    other = attack_step(photos[CLEAN], subject, threat, seed) if paired else subject.references
    return Step(method, (attack, other), prompts=attack.prompts)


@cache
def parse_metric(word: str) -> Method:
    """Parse a metric as `specs.parse` does; cached, since grids ask for it thousands of times."""
    return specs.parse("metrics", word)


def stealth_step(subject: Subject, metric: str) -> Step:
    """Return the step that scores protected photos against originals, at their own size."""
    return Step(parse_metric(metric), (subject.protected, subject.clean))
