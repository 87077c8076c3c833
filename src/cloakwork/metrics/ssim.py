"""Structural similarity (Wang et al. 2004): Gaussian window of sigma 1.5, RGB channels averaged
(torchmetrics).

Photos above a megapixel are scored in horizontal strips, weighted by height, so that memory stays
bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from cloakwork.types import Photos

VERSION = 1
SCOPE, BETTER, RANGE, UNIT, REFERENCE = "image", "higher", (-1, 1), "", "originals"
STRIP = 1_000_000  # pixels


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def score(images: Photos, reference: Photos, prompts: list[str] | None, cfg: Config) -> Tensor:
    """n numbers for n photos (each 3 x H x W in [0, 1]) and their originals."""
    return torch.stack([_ssim(a, b) for a, b in zip(images, reference, strict=True)])


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    height, width = a.shape[-2:]
    strips = -(-height * width // STRIP)
    pairs = zip(a.tensor_split(strips, dim=-2), b.tensor_split(strips, dim=-2), strict=True)
    total = torch.zeros(())
    for x, y in pairs:
        total = total + x.shape[-2] / height * cast(Tensor, ssim(x[None], y[None], data_range=1.0))
    return total
