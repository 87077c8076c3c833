"""Pictures that a store holds already, small enough to stand inside a page; nothing is computed for
them.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.benchmark import grids
from cloakwork.errors import UserError
from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.design import CLEAN, Subject, ThreatModel, arms, attack_step
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.photos.sheets import amplified, gain_for, thumbnail
from cloakwork.photos.tensors import to_pil
from cloakwork.types import Images, Photos

QUALITY = 82  # of WebP
SEED = 0  # of the thief and of the noise that are shown


@dataclass(frozen=True)
class InlineImage:
    """A picture in a page."""

    uri: str
    alt: str
    title: str
    width: int
    height: int


def shot(picture: Tensor, title: str, alt: str, *, lossless: bool = False) -> InlineImage:
    """A picture (3 x H x W in [0, 1]) as a data URI."""
    buffer = io.BytesIO()
    image = to_pil(picture)
    image.save(buffer, "WEBP", quality=QUALITY, lossless=lossless, method=4)
    uri = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return InlineImage(uri, alt, title, image.width, image.height)


def photos(what: Source | Step, workspace: Workspace) -> Photos | None:
    """Photos from the disk or the store; None where they are not there, or cannot be read."""
    try:
        return (
            compute.photos(what, workspace)
            if isinstance(what, Source) or _sound(what, workspace)
            else None
        )
    except (UserError, OSError):
        return None


def loot(
    line: grids.Line, subject: Subject, thief: ThreatModel, workspace: Workspace
) -> Images | None:
    """What the thief got from a line's photos; None where the store does not hold it."""
    try:
        attack = attack_step(arms(subject, SEED)[line.arm], subject, thief, SEED)
        return compute.pictures(attack, workspace) if _sound(attack, workspace) else None
    except (UserError, OSError):
        return None


def learned(line: grids.Line, subject: Subject, workspace: Workspace) -> Photos | None:
    """A line's photos: clean, with noise, or protected."""
    return photos(arms(subject, SEED)[line.arm], workspace)


def photo_shots(
    line: grids.Line, subject: Subject, after: Tensor, before: Tensor
) -> Iterator[InlineImage]:
    """A photo as the thief finds it, and what was done to it."""
    small, was = thumbnail(after), thumbnail(before)
    if line.arm == CLEAN:
        yield shot(small, "photo", f"A photo of {subject.name}, as it is")
        return
    yield shot(small, "photo", f"The same photo of {subject.name} with {line.protection}")
    gain = gain_for(line.budget)
    yield shot(
        amplified(small, was, gain),
        f"change × {gain:.0f}",
        f"What {line.protection} changed in it, amplified {gain:.0f} times around grey",
    )


def loot_shots(
    line: grids.Line, subject: Subject, thief: ThreatModel, found: Images
) -> Iterator[InlineImage]:
    """The first picture of each prompt."""
    each = max(1, len(found) // max(1, len(thief.prompts)))
    for i, prompt in enumerate(thief.prompts[: len(found) // each]):
        asked = prompt.replace("person", subject.noun)
        by = "clean photos" if line.arm == CLEAN else f"photos with {line.protection}"
        alt = f"What the thief {thief.name} gets from {by} of {subject.name}, asked for “{asked}”"
        yield shot(found[i * each], f"{thief.name}: “{asked}”", alt)


def _sound(step: Step, workspace: Workspace) -> bool:
    """Whether the store holds a result that can be trusted: reading any other would begin to
    compute it.
    """
    return (
        steps.cached(step, workspace)
        and workspace.results.find(steps.name_of(step, workspace)) is not None
    )


def crop(photo: Tensor, side: int, rng: torch.Generator) -> tuple[int, int]:
    """Top and left of a square of that side, anywhere in a photo; 0 along what is smaller."""
    spare = [max(0, length - side) for length in photo.shape[-2:]]
    top, left = (int(torch.randint(0, s + 1, (), generator=rng)) for s in spare)
    return top, left
