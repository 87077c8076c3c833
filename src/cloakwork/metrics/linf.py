"""Largest change of a pixel, 1/255: what a budget limits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.metrics._strips import strips
from cloakwork.registry import MetricInfo
from cloakwork.types import Photos

VERSION = 1
METRIC = MetricInfo(
    scope="image", better="lower", range=(0, 255), unit="1/255", reference="originals"
)
STRIP = 1_000_000  # pixels


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def score(images: Photos, reference: Photos, prompts: list[str] | None, cfg: Config) -> Tensor:
    """Return n changes, 1/255, of n photos (3 x H x W in [0, 1], or uint8) from their originals."""
    return torch.stack([_largest(a, b) * 255 for a, b in zip(images, reference, strict=True)])


def _largest(a: Tensor, b: Tensor) -> Tensor:
    """Find the largest difference of two photos, a strip at a time."""
    return torch.stack([(x - y).abs().max() for _, x, y in strips(a, b, STRIP)]).max()
