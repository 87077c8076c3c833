"""An entry of the board: all that is known of one protection, as its JSON file has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cloakwork.benchmark.report.tables import slug

FORMAT = 1  # of the files; raised when a field changes its meaning


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Gap:
    """A paired difference with its 95 % interval."""

    mean: float
    low: float
    high: float
    p: float | None
    """of the sign-flip test; null where there is none"""


@dataclass(frozen=True)
class Paper:
    """What a protection is after."""

    title: str
    arxiv: str
    """its arXiv number, such as "2406.15305"; "" where there is none"""


@dataclass(frozen=True)
class ReportedNumber:
    """A number that a paper gives; on its own models and photos, so nothing to compare with."""

    metric: str
    value: float
    """in this package's unit"""
    setting: str
    """the protection as the paper's recipe here writes it"""
    attacker: str
    """as that recipe calls it; "" for the protected photos themselves"""
    budget: float
    """1/255"""
    model: str
    source: str
    """paper, table and column"""
    own: bool
    """whether the source is the protection's own paper"""
    note: str
    """where it was read, and how its circumstances differ"""


@dataclass(frozen=True)
class Measured:
    """What one attacker got from photos under the protection."""

    threat: str
    """what the attacker's threat model is called"""
    attacker: str
    """its method"""
    purifiers: str
    """the purifiers that it runs photos through first, joined by +; "" for none"""
    victim: str
    """the model that it uses"""
    budget: float
    """largest change of a pixel, 1/255; 0 for clean photos"""
    metric: str
    """what its pictures were scored by; match: the share that shows the person"""
    better: Literal["higher", "lower", ""]
    """which way is better for the attacker"""
    score: Interval | None
    """null: there is no number"""
    against_clean: Gap | None
    """to what the same attacker gets from clean photos"""
    against_noise: Gap | None
    """to what it gets from photos with random noise of the same budget"""
    people: int
    """photo sets; of people, or of things where the metric is none of faces"""
    seeds: int
    pictures: int
    side: int
    """photos were published with at most so many pixels on the shorter side"""
    version: int
    """VERSION of the protection when this was measured"""
    works: bool | None
    """whether both gaps lie on the attacker's worse side, with their intervals"""
    flags: tuple[str, ...]
    """reasons for doubt; see the page's list"""
    failed: str
    """why there is no number; "" where there is one"""
    made: str
    """with which version of cloakwork, on what, and when, as far as the results say it"""
    table: str
    """the recipe's table"""
    recipe: str
    """hash of what was run: the protection with its settings and VERSION, the attacker with its
    own, purifiers, prompts, models and weights, metric; the same recipe has the same hash"""
    photos: str
    """hash of the photos; the same photos have the same hash"""


@dataclass(frozen=True)
class Worst:
    """The most that an attacker got who purified the photos first."""

    threat: str
    purifiers: str
    score: Interval
    clean: float | None
    """what the same attacker gets from clean photos; null for those themselves"""
    noise: float | None
    """and from noise of the same budget; null for the controls"""
    tried: int
    """attackers who purify that were tried; the worst of many is worse than it would be again"""
    people: int
    budget: float
    """1/255"""
    version: int
    works: bool | None
    """does the protection hold, as of a measurement, after every purifier that was tried?"""


@dataclass(frozen=True)
class Change:
    """How far protected photos are from their originals."""

    lpips: Interval | None
    psnr: Interval | None
    """dB"""
    ssim: Interval | None
    linf: Interval | None
    """1/255"""
    budget: float
    """1/255"""
    people: int
    version: int


@dataclass(frozen=True)
class Spent:
    """What the protection takes."""

    cpu_seconds: float
    """of the whole set"""
    photos: int
    """in the set"""
    threads: int | None
    peak_memory_mb: float | None
    """null where it was not measured"""


@dataclass(frozen=True)
class Entry:
    """One protection on the board."""

    format: int
    method: str
    """as after `cloakwork protect --protection`: name, preset behind a colon, surrogates other than
    tiny behind an @"""
    version: int
    """VERSION of the method now; a measurement has the one that it was made with"""
    control: bool
    """whether it is what protections are compared with: none, or noise"""
    about: str
    authors: str
    """of the paper; "" where nobody is named"""
    paper: Paper | None
    reported: tuple[ReportedNumber, ...] | None
    """null where no number is known"""
    measured: tuple[Measured, ...]
    worst: Worst | None
    """null where no attacker who purifies was tried"""
    change: Change | None
    cost: Spent | None
    flags: tuple[str, ...]
    """what a reader should know at once; see the page's list"""
    unreliable: str | None
    """why the numbers say little; null where they stand"""


def file_name(method: str) -> str:
    """Return the name of an entry's file.

    >>> file_name("photoguard:tiny-diffusion"), file_name("my_lab.mine")
    ('photoguard_tiny_diffusion.json', 'my_lab_mine.json')
    """
    return f"{slug(method, set())}.json"
