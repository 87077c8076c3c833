"""Random signs at the full budget: what the same change does when nobody has aimed it. A control.

The strongest l-infinity noise there is: every pixel and channel moves by plus or minus the budget,
independently.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cloakwork.models.ldm import LDM
from cloakwork.perturbation.pgd import project
from cloakwork.photos.tensors import is_grey
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 1
USES_SURROGATES = False
SINGLY = True


@dataclass(frozen=True)
class Config:
    """How loud the noise is."""

    budget: float = 11
    """largest change of a pixel, 1/255"""
    strength: Strength = field(default="uniform", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """how the budget follows the photo: not at all; or less where the eye would notice a change"""


PRESETS = {"tiny": Config(), "paper": Config()}


def protect(
    photos: Photos,
    surrogates: list[LDM],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) plus sign noise; looks at no model."""
    noise = [torch.randint(0, 2, p.shape, generator=rng).to(p) * 2 - 1 for p in photos]
    # of a grey photo the mean over channels, which the projection takes, would be fainter
    noise = [s[:1].expand_as(s) if is_grey(p) else s for p, s in zip(photos, noise, strict=True)]
    limits = state.limits or len(photos) * [cfg.budget]
    moved = [p + lim / 255 * s for p, lim, s in zip(photos, limits, noise, strict=True)]
    return project(moved, photos, limits)
