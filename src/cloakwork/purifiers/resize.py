"""Resize: down and up again, which keeps what is coarse.

Fields name Pillow's kernels, which look at as many pixels as the scale asks for (no aliasing, but
for "nearest"). A half by Lanczos after JPEG 75 is what arXiv 2604.23688 found enough against
several protections of faces: `jpeg+resize`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from PIL import Image

from cloakwork.errors import check_ranges
from cloakwork.models.ldm import LDM
from cloakwork.photos.tensors import from_pil, send, to_pil
from cloakwork.types import Photos

VERSION = 1

Kernel = Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]


@dataclass(frozen=True)
class Config:
    """How far down, and by what."""

    scale: float = 0.5
    """of both sides, over 0 and at most 1; no side becomes shorter than a pixel"""
    down: Kernel = "lanczos"
    """kernel on the way down"""
    up: Kernel = "lanczos"
    """kernel on the way back to the photo's own size"""

    def __post_init__(self) -> None:
        check_ranges(self, scale=(0.001, 1))


def purify(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of their own sizes."""

    def resized(photo: torch.Tensor) -> torch.Tensor:
        height, width = photo.shape[-2:]
        small = (max(1, round(width * cfg.scale)), max(1, round(height * cfg.scale)))
        down, up = (Image.Resampling[kernel.upper()] for kernel in (cfg.down, cfg.up))
        return from_pil(to_pil(photo).resize(small, down).resize((width, height), up)).to(photo)

    return [resized(p) for p in photos]


def smooth(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return the same with a graph: Pillow's kernels as matrices, without rounding to 8 bits."""

    def resized(photo: torch.Tensor) -> torch.Tensor:
        height, width = photo.shape[-2:]
        h, w = (max(1, round(side * cfg.scale)) for side in (height, width))
        return to_size(to_size(photo, h, w, cfg.down), height, width, cfg.up)

    return [resized(p) for p in photos]


def to_size(photo: torch.Tensor, height: int, width: int, kernel: Kernel) -> torch.Tensor:
    """Resize a photo (3 x H x W in [0, 1]) with a graph, as Pillow does but for the rounding."""
    # in Pillow's order, and what overshoots is clipped every time
    across = send(_weights(photo.shape[-1], width, kernel), photo.device)
    photo = (photo @ across.mT).clamp(0, 1)
    down = send(_weights(photo.shape[-2], height, kernel), photo.device)
    return (down @ photo).clamp(0, 1)


@lru_cache(maxsize=64)
def _weights(size: int, new: int, kernel: Kernel) -> torch.Tensor:
    """Return what each pixel of the result takes from each of the source, new x size.

    >>> _weights(4, 2, "box").tolist()
    [[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]]
    """
    # F.interpolate has no Lanczos, and clips nothing between rows and columns as Pillow does
    each = Image.fromarray(np.eye(size, dtype=np.float32))
    return torch.from_numpy(np.array(each.resize((size, new), Image.Resampling[kernel.upper()])))
