"""What came out of a grid: cells with their intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from cloakwork.evaluation.statistics import Estimate


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
