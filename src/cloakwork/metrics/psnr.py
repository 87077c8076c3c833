"""Peak signal-to-noise ratio over all pixels and channels, dB; infinite for equal photos."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.types import Photos

VERSION = 1
SCOPE, BETTER, RANGE, UNIT, REFERENCE = "image", "higher", (0, float("inf")), "dB", "originals"


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def score(images: Photos, reference: Photos, prompts: list[str] | None, cfg: Config) -> Tensor:
    """n numbers for n photos (each 3 x H x W in [0, 1]) and their originals."""
    return torch.stack(
        [-10 * torch.log10((a - b).square().mean()) for a, b in zip(images, reference, strict=True)]
    )
