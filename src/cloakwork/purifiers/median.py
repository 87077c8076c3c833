"""Median filter: every pixel becomes the median of those around it, each colour for itself.

Xu et al., "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", arXiv
1704.01155 (its spatial smoothing).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from PIL import ImageFilter

from cloakwork.errors import UserError, check_ranges
from cloakwork.models.ldm import LDM
from cloakwork.photos.tensors import from_pil, to_pil
from cloakwork.types import Photos

VERSION = 1


@dataclass(frozen=True)
class Config:
    """How far around."""

    kernel: int = 3
    """width of the square, pixels, odd"""

    def __post_init__(self) -> None:
        check_ranges(self, kernel=(1, 99))
        if self.kernel % 2 == 0:
            raise UserError(
                f"The kernel {self.kernel} has no middle; give an odd number of pixels."
            )


def purify(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of their own sizes.

    Pixels beyond the border are those at the border.
    """
    return [from_pil(to_pil(p).filter(ImageFilter.MedianFilter(cfg.kernel))).to(p) for p in photos]
