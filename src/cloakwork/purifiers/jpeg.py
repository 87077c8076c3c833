"""JPEG: compressed and read again, the first thing that happens to a photo online.

Das et al., "Keeping the Bad Guys Out: Protecting and Vaccinating Deep Learning with JPEG
Compression", arXiv 1705.02900. The encoder is libjpeg, by Pillow. DiffShortcut (arXiv 2406.18944)
compares with quality 75.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image

from cloakwork.errors import check_ranges
from cloakwork.models.ldm import LDM
from cloakwork.photos.preprocessing import jpeg
from cloakwork.photos.tensors import from_pil, to_pil
from cloakwork.types import Photos

VERSION = 1


@dataclass(frozen=True)
class Config:
    """As libjpeg has it."""

    quality: int = 75
    """1 to 100"""
    subsampling: Literal["4:4:4", "4:2:2", "4:2:0"] = "4:2:0"
    """resolution of the colours against that of the brightness; 4:2:0 halves it both ways"""

    def __post_init__(self) -> None:
        check_ranges(self, quality=(1, 100))


def purify(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) after one compression, of their own sizes."""

    def compressed(photo: torch.Tensor) -> torch.Tensor:
        file = io.BytesIO()
        to_pil(photo).save(file, "JPEG", quality=cfg.quality, subsampling=cfg.subsampling)
        return from_pil(Image.open(file)).to(photo)

    return [compressed(p) for p in photos]


def smooth(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return the same with a graph.

    For 4:2:0 these are the codec's steps, with a rounding that has a gradient
    (`preprocessing.jpeg`); for others the whole codec is taken for the identity on the way back.
    """
    if cfg.subsampling != "4:2:0":
        made = purify([p.detach() for p in photos], ldm, cfg, rng=rng)
        return [p + (m - p).detach() for p, m in zip(photos, made, strict=True)]
    return [
        jpeg(p[None], torch.tensor([float(cfg.quality)], device=p.device))[0].clamp(0, 1)
        for p in photos
    ]
