"""Gaussian blur.

`sigma` is the standard deviation and `kernel` the width of what is added up, both in pixels of the
photo. They are easily mixed up: DiffShortcut (arXiv 2406.18944) passes a "kernel_size" of 5 to
Pillow, which takes it for the standard deviation (preset "diffshortcut"). A kernel of 7 is what
MetaCloak (arXiv 2311.13127) trains its attackers with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cloakwork.errors import UserError, check_ranges
from cloakwork.models.ldm import LDM
from cloakwork.types import Photos

VERSION = 1


@dataclass(frozen=True)
class Config:
    """The Gaussian, pixels."""

    sigma: float = 1.5
    """standard deviation"""
    kernel: int = 0
    """width, odd (0: as wide as eight standard deviations)"""

    def __post_init__(self) -> None:
        check_ranges(self, sigma=(0.01, 1000), kernel=(0, 10001))
        if self.kernel and self.kernel % 2 == 0:
            raise UserError(
                f"The kernel {self.kernel} has no middle; give an odd number of pixels, "
                "or 0 for as many as needed."
            )


PRESETS = {"diffshortcut": Config(sigma=5)}


def purify(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of their own sizes.

    Pixels beyond the border are those at the border.
    """
    # kornia.filters.gaussian_blur2d adds up in another order, which moves pixels by 2e-7
    radius = (cfg.kernel or 2 * math.ceil(4 * cfg.sigma) + 1) // 2
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / cfg.sigma) ** 2)
    row = (weights / weights.sum()).view(1, 1, 1, -1)

    def blurred(photo: torch.Tensor) -> torch.Tensor:
        x, w = F.pad(photo[:, None], (radius,) * 4, mode="replicate"), row.to(photo)
        return F.conv2d(F.conv2d(x, w), w.mT)[:, 0].clamp(0, 1)

    return [blurred(p) for p in photos]


smooth = purify  # every step of it has a gradient
