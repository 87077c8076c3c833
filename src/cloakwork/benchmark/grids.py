"""What a benchmark compares: tables of protections and attackers over photo sets, and the steps
that they rest on.

A recipe (see recipes/) is a plain function that returns a `Grid`. Here is what grids are made of;
`results` says what came out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from cloakwork import specs
from cloakwork.errors import UserError
from cloakwork.evaluation.design import (
    CLEAN,
    NOISE,
    PROTECTED,
    STEALTH,
    Subject,
    ThreatModel,
    arms,
    score_step,
    stealth_step,
    with_noun,
)
from cloakwork.evaluation.sources import Source, source
from cloakwork.evaluation.steps import Step
from cloakwork.photos.folders import photo_files
from cloakwork.photos.rounding import WORK_SIDE
from cloakwork.types import Strength

FACES = ("match", "face_missing", "identity", "clip_t")
THINGS = ("clip_i", "clip_t")
PROMPTS = ("a photo of sks person", "a dslr portrait of sks person")
# arms of every comparison: clean photos, and random sign noise of the same budget
CONTROLS = ("none", "noise")


@dataclass(frozen=True)
class Table:
    """Protections under attackers, over the same photo sets."""

    name: str
    protections: tuple[str, ...]
    """written as after `cloakwork protect --protection`, with preset and fields behind colons, and
    surrogates other than the table's behind an @ (joined by +); `none` and `noise` stand in every
    table unasked"""
    threat_models: tuple[ThreatModel, ...]
    """by different names; the first is the one that others are compared with (adaptive against
    standard)"""
    subjects: tuple[Subject, ...]
    """photo sets, not yet protected"""
    metrics: tuple[str, ...] = FACES
    """what pictures are scored by; the first is what the table is sorted by"""
    seeds: int = 1
    budget: float | None = 11
    """largest change of a pixel, 1/255; None: what each protection's own settings say"""
    surrogates: tuple[str, ...] = ("tiny",)
    dtype: str = "float32"
    """what the surrogates compute in"""
    rival: str = ""
    """the protection that all others are also compared with, if any"""
    stealth: tuple[str, ...] = STEALTH
    """what protected photos are compared with their originals by; a network may be named, as in
    `dists:vgg=timm/vgg16.tv_in1k`"""
    about: str = ""
    """a sentence or two for the report"""


@dataclass(frozen=True)
class Grid:
    """A benchmark."""

    name: str
    about: str
    """what it is for, and what it says nothing of"""
    tables: tuple[Table, ...]


def threat_model(
    label: str,
    attacker: str = "dreambooth",
    *,
    victim: str = "tiny",
    purifiers: str = "",
    clean_share: float = 0.0,
    prompts: Sequence[str] = PROMPTS,
    pictures: int = 8,
    dtype: str = "bfloat16",
) -> ThreatModel:
    """Return a threat model by what its attacker does.

    Args:
        label: what tables call it.
        attacker: `NAME[:PRESET][:FIELD=VALUE,...]`.
        victim: the model it uses.
        purifiers: what it runs the photos through first, joined by +.
        clean_share: of the photos that it has unprotected, 0 to 1.
        prompts: what it asks for.
        pictures: for each prompt, of attackers that sample.
        dtype: what its model computes in.
    """
    method = specs.parse("attackers", attacker, [victim])
    if getattr(method.module, "SAMPLES", False):
        sampling = replace(method.config.sampling, n=pictures)
        method = replace(method, config=replace(method.config, sampling=sampling))
    chain = specs.purifiers(purifiers, victim)
    return ThreatModel(method, victim, tuple(prompts), clean_share, chain, dtype=dtype, label=label)


def people(folder: Path | str, side: int = WORK_SIDE) -> tuple[Subject, ...]:
    """Return the photo sets of people, by the protocol of Anti-DreamBooth.

    Attackers learn from a person's set_B; pictures are compared with set_B and set_A, clean.

    Args:
        folder: has a folder for each person, with the folders set_A and set_B in it.
        side: photos are published no larger than with so many pixels on the shorter side; pictures
            are compared with the files.

    Raises:
        UserError: no such folders.
    """
    subjects = []
    for person in _within(Path(folder)):
        set_a, set_b = person / "set_A", person / "set_B"
        if set_a.is_dir() and set_b.is_dir():
            learned, others = photo_files(set_b), photo_files(set_a)
            subjects.append(_subject(person.name, learned, others, "person", side))
    if not subjects:
        raise UserError(
            f"{folder} holds no photos of people. "
            "It needs a folder for each person, with the folders set_A and set_B in it."
        )
    return tuple(subjects)


def things(folder: Path | str, only: Iterable[str] = ()) -> tuple[Subject, ...]:
    """Return the photo sets of things: attackers learn from the first half of each.

    Pictures are compared with all photos of a thing.

    Args:
        folder: has a folder of photos for each thing.
        only: names of things; empty: all.

    Raises:
        UserError: no such folders.
    """
    subjects, wanted = [], list(only)
    for thing in _within(Path(folder)):
        photos = photo_files(thing)
        if photos and (not wanted or thing.name in wanted):
            middle = (len(photos) + 1) // 2
            noun = thing.name.rstrip("0123456789").replace("_", " ")
            subjects.append(_subject(thing.name, photos[:middle], photos[middle:], noun))
    if not subjects:
        among = f", among them {', '.join(wanted)}" if wanted else ""
        raise UserError(f"{folder} holds no photos of things. It needs a folder for each{among}.")
    return tuple(subjects)


def sets(folder: Path | str) -> tuple[Subject, ...]:
    """Return the photo sets in a folder: of people where one has a set_B, else of things.

    Raises:
        UserError: neither.
    """
    of_people = any((f / "set_B").is_dir() for f in _within(Path(folder)))
    return people(folder) if of_people else things(folder)


def _within(folder: Path) -> list[Path]:
    """Return the folders in a folder, sorted by name."""
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {folder}. Name the folder of the photo sets with --data."
        )
    return sorted(p for p in folder.iterdir() if p.is_dir())


def _subject(
    name: str, learned: Sequence[Path], others: Sequence[Path], noun: str, side: int = WORK_SIDE
) -> Subject:
    """Return a photo set that is not yet protected; pictures are compared with all its photos."""
    clean = source(learned, side)
    return Subject(name, clean, clean, 0, source([*learned, *others]), noun)


def protected(table: Table, protection: str) -> tuple[Subject, ...]:
    """Return the table's photo sets under a protection, which is computed with seed 0.

    `none` and `noise` leave them as they are.

    Raises:
        UserError: an unknown protection, or settings that it does not have.
    """
    word, _, others = protection.partition("@")
    surrogates = tuple(others.split("+")) if others else table.surrogates
    method = specs.parse("protections", word, surrogates)
    if table.budget is not None:
        method = replace(method, config=replace(method.config, budget=table.budget))
    budget, strength = method.config.budget, getattr(method.config, "strength", "uniform")
    subjects = [replace(s, budget=budget, strength=strength) for s in table.subjects]
    if protection in CONTROLS:
        return tuple(subjects)
    models = surrogates if getattr(method.module, "USES_SURROGATES", True) else ()

    def step(s: Subject) -> Step:
        photos = (s.clean, s.known) if s.known else (s.clean,)
        return Step(with_noun(method, s.noun), photos, 0, models, dtype=table.dtype)

    return tuple(replace(s, protected=step(s)) for s in subjects)


@dataclass(frozen=True)
class Line:
    """Photos under a protection, or one of the controls: one line of a table for each attacker."""

    protection: str
    """as the recipe writes it; "none"; "noise", or "noise 8" and "noise 8 faint" where the table
    has several budgets and strengths"""
    arm: str
    """of the audit: clean, noise or protected"""
    subjects: tuple[Subject, ...]

    @property
    def budget(self) -> float:
        """Largest change of a pixel, 1/255; 0 for clean photos."""
        return 0.0 if self.arm == CLEAN else self.subjects[0].budget

    @property
    def loudness(self) -> tuple[float, Strength]:
        """Budget and strength: lines that share them are compared with the same noise."""
        return self.budget, self.subjects[0].strength

    def photo_sets(self, seed: int = 0) -> Iterator[tuple[Subject, Source | Step]]:
        """Yield each photo set with the photos of it that an attacker has.

        Args:
            seed: of the noise, if this is its line.
        """
        for subject in self.subjects:
            yield subject, arms(subject, seed)[self.arm]


def lines(table: Table) -> Iterator[Line]:
    """Yield a table's lines: the controls, with noise of each budget, then every protection."""
    under = {p: protected(table, p) for p in table.protections if p not in CONTROLS}
    every = under.values() or [protected(table, "none")]
    like = {(subjects[0].budget, subjects[0].strength): subjects for subjects in every}
    yield Line("none", CLEAN, next(iter(like.values())))
    for (budget, strength), subjects in like.items():
        named = f"noise {budget:g}" + f" {strength}" * (strength != "uniform")
        yield Line("noise" if len(like) == 1 else named, NOISE, subjects)
    for protection, subjects in under.items():
        yield Line(protection, PROTECTED, subjects)


def targets(grid: Grid) -> Iterator[Step]:
    """Yield the scores that a grid rests on.

    Those of clean photos and noise come first, then those of a protection after the other.
    """
    for table in grid.tables:
        for line in lines(table):
            for threat, subject, seed, metric in product(
                table.threat_models, line.subjects, range(table.seeds), table.metrics
            ):
                yield score_step(line.arm, subject, threat, seed, metric)
            if line.arm == PROTECTED:
                yield from (
                    stealth_step(subject, metric)
                    for subject, metric in product(line.subjects, table.stealth)
                )
