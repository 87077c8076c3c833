"""What two sides are, and what both get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from types import ModuleType
from typing import Any

from releases.parts import Draws, Found, Parts
from torch import Tensor

from cloakwork.models.ldm import LDM

LR = 1e-4  # the papers' 5e-7 would show nothing on a small model
CLASSES = 2  # class pictures


@dataclass(frozen=True)
class Given:
    """What both sides get; pictures are n x 3 x S x S in [0, 1]."""

    ldm: LDM
    photos: Tensor
    """one or three: draws of two numbers place a crop"""
    clean: Tensor
    """photos that a surrogate learns"""
    classes: Tensor
    """class pictures"""
    target: Tensor
    """one picture"""
    steps: int
    """of the short loop; 1: nothing but the first gradient is asked for"""

    @property
    def turns(self) -> int:
        """Rounds, and steps in each part of one, of methods that go in rounds."""
        return min(self.steps, 2)

    @property
    def prompts(self) -> tuple[str, str]:
        return self.ldm.spell("a photo of sks person"), self.ldm.spell("a photo of person")


@dataclass(frozen=True)
class Statement:
    """One statement of a release."""

    run: Callable[[Parts, Given, Draws], Found | None]
    """None where weights learn: what becomes of them is watched"""
    differs: str = ""
    """why the package does otherwise, where it means to"""


@dataclass(frozen=True)
class Case:
    """A method and its statements."""

    name: str
    module: ModuleType
    config: Callable[[Given], Any]
    release: str
    """repository and commit"""
    statements: tuple[Statement, ...]
    sample: bool = False
    """latents are samples of the posterior, as in the release"""
    photos: int = 3
    """fewer for what takes many passes"""

    @property
    def trains(self) -> bool:
        return hasattr(self.module, "attack")


def stated(function: Callable[..., Found | None], differs: str = "", **how: Any) -> Statement:
    """A statement, told what `how` says; functions in it are of what both sides get."""

    def run(parts: Parts, given: Given, draws: Draws) -> Found | None:
        told = {k: v(given) if callable(v) else v for k, v in how.items()}
        return function(parts=parts, draws=draws, **told)

    return Statement(run, differs)


def short(cfg: Any, **changed: str) -> Callable[[Given], Any]:
    """The settings with numbers of steps from what both sides get (by its fields' names)."""
    return lambda given: replace(cfg, **{k: getattr(given, v) for k, v in changed.items()})


PHOTOS, CLEAN, STEPS, TURNS = (attrgetter(k) for k in ("photos", "clean", "steps", "turns"))
LOOP = {"photos": PHOTOS, "steps": STEPS}
LEARN = {
    "photos": PHOTOS,
    "clean": CLEAN,
    "classes": attrgetter("classes"),
    "prompts": attrgetter("prompts"),
    "lr": LR,
}
