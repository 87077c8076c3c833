"""Post: a photo as it comes back from a platform, narrower and compressed.

Photos wider than `width` are made that wide by Lanczos; then JPEG. They are not enlarged again:
who takes them from there has them so. Preset "1080" is what pixelfed does (pixelfed#2342: 1080 px,
quality 75). The others are assumptions, of no platform's documents: "2048", 2048 px at 85, for
sites that keep more; "720", 720 px at 70, for messengers.
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
    """What a platform keeps."""

    width: int = 1080
    """of the photo at most, pixels"""
    quality: int = 75
    """of the JPEG, 1 to 100"""

    def __post_init__(self) -> None:
        check_ranges(self, width=(1, 65500), quality=(1, 100))


PRESETS = {
    "1080": Config(),
    "2048": Config(width=2048, quality=85),
    "720": Config(width=720, quality=70),
}


def purify(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]), wide ones smaller."""
    narrow = [lanczos(p, *_narrow(p, cfg.width)) for p in photos]
    return jpeg.purify(narrow, None, jpeg.Config(quality=cfg.quality), rng=rng)


def smooth(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return the same with a graph, as `jpeg` and `resize` have it."""
    sizes = [_narrow(p, cfg.width) for p in photos]
    narrow = [
        p if p.shape[-2:] == size else resize.to_size(p, *size, "lanczos")
        for p, size in zip(photos, sizes, strict=True)
    ]
    return jpeg.smooth(narrow, None, jpeg.Config(quality=cfg.quality), rng=rng)


def _narrow(photo: Tensor, width: int) -> tuple[int, int]:
    """Return the size of a photo that is made at most so wide."""
    high, wide = photo.shape[-2:]
    return (high, wide) if wide <= width else (max(1, round(high * width / wide)), width)
