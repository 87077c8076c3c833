"""Resize: down and up again, which keeps what is coarse.

Fields name Pillow's kernels, which look at as many pixels as the scale asks for (no aliasing, but for "nearest"). A half by
Lanczos after JPEG 75 is what arXiv 2604.23688 found enough against several protections of faces: `jpeg+resize`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image

from cloakwork.errors import check_ranges
from cloakwork.images import from_pil, to_pil
from cloakwork.ldm import LDM
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
    """Photos (each 3 x H x W in [0, 1]) of their own sizes."""

    def resized(photo: torch.Tensor) -> torch.Tensor:
        height, width = photo.shape[-2:]
        small = (max(1, round(width * cfg.scale)), max(1, round(height * cfg.scale)))
        down, up = (Image.Resampling[kernel.upper()] for kernel in (cfg.down, cfg.up))
        return from_pil(to_pil(photo).resize(small, down).resize((width, height), up)).to(photo)

    return [resized(p) for p in photos]
