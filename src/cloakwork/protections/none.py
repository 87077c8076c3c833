"""No protection: the photos as they are. The control that every comparison needs."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cloakwork.models.ldm import LDM
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 1
USES_SURROGATES = False
SINGLY = True


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""

    budget: float = 0
    """largest change of a pixel, 1/255; always 0 here"""
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
    """Return the same photos (each 3 x H x W in [0, 1])."""
    return photos
