"""Gaussian noise, in which a perturbation is to drown.

One of the purifiers of Hönig et al., "Adversarial Perturbations Cannot Reliably Protect Artists
From Generative AI", arXiv 2406.12027, with a standard deviation of .05.
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
    """How loud."""

    sigma: float = 0.05
    """standard deviation, in shares of the pixel range (.05 is 13/255)"""

    def __post_init__(self) -> None:
        check_ranges(self, sigma=(0, 10))


def purify(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of their own sizes."""
    return [(p + cfg.sigma * torch.randn(p.shape, generator=rng).to(p)).clamp(0, 1) for p in photos]


smooth = purify  # every step of it has a gradient
