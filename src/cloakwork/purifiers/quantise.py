"""Fewer levels: every pixel goes to the nearest of 2^bits values; smaller changes are lost.

Xu et al., "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", arXiv
1704.01155 (its bit depth reduction; 5 bits are what it uses on ImageNet).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cloakwork.errors import check_ranges
from cloakwork.models.ldm import LDM
from cloakwork.types import Photos

VERSION = 1


@dataclass(frozen=True)
class Config:
    """How many levels."""

    bits: int = 5
    """of each colour, 1 to 8"""

    def __post_init__(self) -> None:
        check_ranges(self, bits=(1, 8))


def purify(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of their own sizes."""
    steps = 2**cfg.bits - 1
    return [p.mul(steps).round() / steps for p in photos]
