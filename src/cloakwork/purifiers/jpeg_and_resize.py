"""JPEG and resize: compressed, then half the size, and left so.

arXiv 2604.23688 found JPEG 75 and a half by Lanczos enough against several protections of faces.
The chain `jpeg+resize` enlarges photos again, as one does who compares them with their originals;
an attacker has no cause to.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.errors import check_ranges
from cloakwork.models.ldm import LDM
from cloakwork.photos.tensors import lanczos
from cloakwork.purifiers import jpeg, resize
from cloakwork.types import Photos

VERSION = 1
SHRINKS = True


@dataclass(frozen=True)
class Config:
    """As the authors have it."""

    quality: int = 75
    """of the JPEG, 1 to 100"""
    scale: float = 0.5
    """of both sides, over 0 and at most 1; no side becomes shorter than a pixel"""

    def __post_init__(self) -> None:
        check_ranges(self, quality=(1, 100), scale=(0.001, 1))


def purify(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of `scale` times their sides."""
    compressed = jpeg.purify(photos, None, jpeg.Config(quality=cfg.quality), rng=rng)
    return [lanczos(p, *_scaled(p, cfg.scale)) for p in compressed]


def smooth(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return the same with a graph, as `jpeg` and `resize` have it."""
    compressed = jpeg.smooth(photos, None, jpeg.Config(quality=cfg.quality), rng=rng)
    return [resize.to_size(p, *_scaled(p, cfg.scale), "lanczos") for p in compressed]


def _scaled(photo: Tensor, scale: float) -> tuple[int, int]:
    height, width = (max(1, round(side * scale)) for side in photo.shape[-2:])
    return height, width
