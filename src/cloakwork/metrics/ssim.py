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


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def score(images: Photos, reference: Photos, prompts: list[str] | None, cfg: Config) -> Tensor:
    """Return n scores for n photos (3 x H x W in [0, 1]) and their originals."""
    return torch.stack([_ssim(a, b) for a, b in zip(images, reference, strict=True)])


def _ssim(a: Tensor, b: Tensor) -> Tensor:
    """Compare a photo with its original."""
    from torchmetrics.functional.image import structural_similarity_index_measure as ssim

    total = torch.zeros(())
    for share, x, y in strips(a, b, STRIP):
        total = total + share * cast(Tensor, ssim(x[None], y[None], data_range=1.0))
    return total
