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
SEED = 0  # of the attack and of the noise that are shown


@dataclass(frozen=True)
class InlineImage:
    """A picture in a page."""

    uri: str
    alt: str
    title: str
    width: int
    height: int


def inline_image(picture: Tensor, title: str, alt: str, *, lossless: bool = False) -> InlineImage:
    """Return a picture (3 x H x W in [0, 1]) as a data URI."""
    buffer = io.BytesIO()
    image = to_pil(picture)
    image.save(buffer, "WEBP", quality=QUALITY, lossless=lossless, method=4)
    uri = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
    return InlineImage(uri, alt, title, image.width, image.height)


def photos(origin: Source | Step, workspace: Workspace) -> Photos | None:
    """Read photos from the disk or the store; None where they are not there, or cannot be read."""
    try:
        if isinstance(origin, Source) or _sound(origin, workspace):
            return compute.photos(origin, workspace)
    except (UserError, OSError):
        pass
    return None


def attack_images(
    line: grids.Line, subject: Subject, attacker: ThreatModel, workspace: Workspace
) -> Images | None:
    """Read what the attacker gets from a line's photos; None where the store does not hold it."""
    try:
        attack = attack_step(arms(subject, SEED)[line.arm], subject, attacker, SEED)
        return compute.pictures(attack, workspace) if _sound(attack, workspace) else None
    except (UserError, OSError):
        return None


def purified_photos(
    line: grids.Line, subject: Subject, attacker: ThreatModel, workspace: Workspace
) -> Photos | None:
    """Read what an attacker with purifiers makes of a line's photos before it learns from them;
    None for one without, and where the store does not hold it.
    """
    if not attacker.purifiers:
        return None
    attack = attack_step(arms(subject, SEED)[line.arm], subject, attacker, SEED)
    return photos(attack.inputs[0], workspace)


def inline_purified(subject: Subject, attacker: ThreatModel, purified: Tensor) -> InlineImage:
    """Return a photo as the attacker learns from it, after its purifiers."""
    chain = "+".join(method.name for method in attacker.purifiers)
    alt = f"The photo of {subject.name} that {attacker.name} learns from, after {chain}"
    return inline_image(thumbnail(purified), f"after {chain}", alt)


def line_photos(line: grids.Line, subject: Subject, workspace: Workspace) -> Photos | None:
    """Read a line's photos, which the attacker learns from: clean, with noise, or protected."""
    return photos(arms(subject, SEED)[line.arm], workspace)


def inline_photos(
    line: grids.Line, subject: Subject, after: Tensor, before: Tensor
) -> Iterator[InlineImage]:
    """Yield a photo as the attacker finds it, and what was done to it."""
    small, original = thumbnail(after), thumbnail(before)
    if line.arm == CLEAN:
        yield inline_image(small, "photo", f"A photo of {subject.name}, as it is")
        return
    yield inline_image(small, "photo", f"The same photo of {subject.name} with {line.protection}")
    gain = gain_for(line.budget)
    yield inline_image(
        amplified(small, original, gain),
        f"change × {gain:.0f}",
        f"What {line.protection} changed in it, amplified {gain:.0f} times around grey",
    )


def inline_attack_images(
    line: grids.Line, subject: Subject, attacker: ThreatModel, images: Images
) -> Iterator[InlineImage]:
    """Yield the first picture of each prompt."""
    each = max(1, len(images) // max(1, len(attacker.prompts)))
    for i, prompt in enumerate(attacker.prompts[: len(images) // each]):
        asked = prompt.replace("person", subject.noun)
        by = "clean photos" if line.arm == CLEAN else f"photos with {line.protection}"
        alt = f"What the attacker {attacker.name} gets from {by} of {subject.name}, "
        alt += f"asked for “{asked}”"
        yield inline_image(images[i * each], f"{attacker.name}: “{asked}”", alt)


def _sound(step: Step, workspace: Workspace) -> bool:
    """Return whether the store holds a result that can be trusted: reading any other would begin
    to compute it.
    """
    return (
        steps.cached(step, workspace)
        and workspace.results.find(steps.name_of(step, workspace)) is not None
    )


def crop(photo: Tensor, side: int, rng: torch.Generator) -> tuple[int, int]:
    """Draw top and left of a square of that side, anywhere in a photo; 0 along what is smaller."""
    spare = [max(0, length - side) for length in photo.shape[-2:]]
    top, left = (int(torch.randint(0, s + 1, (), generator=rng)) for s in spare)
    return top, left
