"""A smoke grid of some thirty lean cells: whether everything runs, in minutes; its numbers say
nothing.

Two protections and the controls, on two sample photos (or the first two of the photo sets in
`data`), against a DreamBooth attacker of sixty steps, the same after JPEG, and SDEdit; and a
protection with a budget of 0, which must change nothing.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from cloakwork.benchmark.grids import THINGS, Grid, Table, sets, threat_model
from cloakwork.evaluation.design import Subject, ThreatModel
from cloakwork.evaluation.sources import source
from cloakwork.files import SAMPLE_PHOTOS

LEAN = "dreambooth:tiny:steps=60,class_images=8"
# every laptop has float32; where bfloat16 is imitated, minutes would become hours
THREAT = partial(threat_model, dtype="float32")


def quick(data: Path | None) -> Grid:
    """Build the grid; `data` as `grids.sets` takes it."""
    subjects, threats = sets(data)[:2] if data else samples(), lean()
    asked = ("a photo of a sunflower",)
    edits = (THREAT("SDEdit", "sdedit:tiny:strengths=0.3", prompts=asked),)
    protections = ("photoguard", "pid")
    return Grid(
        "quick",
        "A smoke grid: that everything runs, and how a report looks. "
        "Two photo sets, lean attackers: its numbers say nothing.",
        (
            Table(
                "Attackers",
                protections,
                threats,
                subjects,
                THINGS,
                about="Likeness to the photos, and to the prompt.",
            ),
            Table(
                "Edits",
                protections,
                edits,
                subjects,
                ("lpips", "ssim"),
                about="Edits, apart from those of clean photos.",
            ),
            Table(
                "Budget 0",
                ("photoguard",),
                threats[:1],
                subjects,
                THINGS,
                budget=0,
                about="A control: no line may differ.",
            ),
        ),
    )


def samples() -> tuple[Subject, ...]:
    """Return two photo sets of one sample photo each."""
    return _sample("chelsea.png", "cat"), _sample("coffee.png", "cup")


def lean(victim: str = "tiny") -> tuple[ThreatModel, ...]:
    """Return an attacker of sixty steps, and the same after JPEG."""
    threat = partial(THREAT, victim=victim, prompts=("a photo of sks person",), pictures=4)
    return (
        threat("DreamBooth", LEAN),
        threat("DreamBooth after JPEG", LEAN, purifiers="jpeg"),
    )


def _sample(name: str, noun: str) -> Subject:
    """Return a photo set of one sample photo."""
    photos = source([SAMPLE_PHOTOS / name])
    return Subject(noun, photos, photos, 0, photos, noun)
