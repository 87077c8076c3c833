"""Peak signal-to-noise ratio over all pixels and channels, dB; infinite for equal photos."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.metrics._strips import strips
from cloakwork.registry import MetricInfo
from cloakwork.types import Photos

VERSION = 1
METRIC = MetricInfo(
    scope="image", better="higher", range=(0, math.inf), unit="dB", reference="originals"
)
STRIP = 1_000_000  # pixels


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def score(images: Photos, reference: Photos, prompts: list[str] | None, cfg: Config) -> Tensor:
    """Return n ratios, dB, of n photos (3 x H x W in [0, 1], or uint8) to their originals."""
    return torch.stack(
        [-10 * torch.log10(_error(a, b)) for a, b in zip(images, reference, strict=True)]
    )


def _error(a: Tensor, b: Tensor) -> Tensor:
    """Compute the mean squared difference of two photos, a strip at a time."""
    total = torch.zeros(())
    for share, x, y in strips(a, b, STRIP):
        total = total + share * (x - y).square().mean()
    return total
