"""Structural similarity (Wang et al. 2004): Gaussian window of sigma 1.5, RGB channels averaged.

By torchmetrics. Photos above a megapixel are scored in horizontal strips, weighted by height, so
that memory stays bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from cloakwork.metrics._strips import strips
from cloakwork.registry import MetricInfo
from cloakwork.types import Photos

VERSION = 1
METRIC = MetricInfo(scope="image", better="higher", range=(-1, 1), unit="", reference="originals")
STRIP = 1_000_000  # pixels
BLURRED = 100_000  # pixels at once
MARGIN = 5  # rows from the middle of a window to its end


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def score(images: Photos, reference: Photos, prompts: list[str] | None, cfg: Config) -> Tensor:
    """Return n scores for n photos (3 x H x W in [0, 1], or uint8) and their originals."""
    return torch.stack([_ssim(a, b) for a, b in zip(images, reference, strict=True)])


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    """Compare a photo with its original."""
    total = torch.zeros(())
    for share, x, y in strips(a, b, STRIP):
        total = total + share * _similarities(x[None], y[None]).reshape(1, -1).mean(-1).mean()
    return total


def _similarities(x: Tensor, y: Tensor) -> Tensor:
    """Return the similarity at every pixel of a strip, 1 x 3 x H x W.

    Some rows at a time, which changes no bit: torchmetrics blurs five pictures at once, by a
    convolution that needs a hundred times their memory.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    rows, parts = -(-BLURRED // x.shape[-1]), []
    for top in range(0, x.shape[-2], rows):
        first = max(0, top - MARGIN)
        seen = slice(first, top + rows + MARGIN)
        _, part = ssim(x[..., seen, :], y[..., seen, :], data_range=1.0, return_full_image=True)
        parts.append(cast(Tensor, part)[..., top - first : top - first + rows, :])
    return torch.cat(parts, dim=-2)
