"""Largest change of a pixel, 1/255: what a budget limits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.registry import MetricInfo
from cloakwork.types import Photos

VERSION = 1
METRIC = MetricInfo(
    scope="image", better="lower", range=(0, 255), unit="1/255", reference="originals"
)


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def score(images: Photos, reference: Photos, prompts: list[str] | None, cfg: Config) -> Tensor:
    """Return n changes, 1/255, of n photos (3 x H x W in [0, 1]) from their originals."""
    return torch.stack([(a - b).abs().max() * 255 for a, b in zip(images, reference, strict=True)])
