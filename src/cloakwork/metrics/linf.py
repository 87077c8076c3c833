"""Largest change of a pixel, 1/255: what a budget limits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.types import Photos

VERSION = 1
SCOPE, BETTER, RANGE, UNIT, REFERENCE = "image", "lower", (0, 255), "1/255", "originals"


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def score(images: Photos, reference: Photos, prompts: list[str] | None, cfg: Config) -> Tensor:
    """n numbers for n photos (each 3 x H x W in [0, 1]) and their originals."""
    return torch.stack([(a - b).abs().max() * 255 for a, b in zip(images, reference, strict=True)])
