"""Random differentiable transformations: what a thief's data loader does to a photo, as part of the
gradient's path.

Expectation over transformation (Athalye et al., arXiv 1707.07397). Parameters are drawn for each
photo on its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.types import Images, Photos


@dataclass(frozen=True)
class Preprocessing:
    """How a thief reads photos. The default resizes and crops the centre, like the published
    trainers.
    """

    crop: Literal["centre", "slide"] = "centre"
    """where the square is cut: the middle, or anywhere along the photo's long side"""
    zoom: float = 1.0
    """smallest share of the short side that a random crop keeps (1: never closer)"""
    flip: float = 0.0
    """probability of a left-right flip"""
    blur: int = 0
    """kernel of a Gaussian blur in pixels of the model's picture, odd (0: none)"""
    blur_sigma: tuple[float, float] = (0.3, 1.5)
    """range of the blur's standard deviation, pixels"""
    jpeg: tuple[int, int] | None = None
    """range of JPEG qualities (None: no compression)"""


CENTRE = Preprocessing()
SLIDE = Preprocessing(crop="slide")  # for PGD: no strip of an oblong photo stays unprotected


def preprocess(
    photos: Photos, size: int, how: Preprocessing = CENTRE, rng: torch.Generator | None = None
) -> Images:
    """Photos (each 3 x H x W in [0, 1], any sizes) as a model sees them: n x 3 x size x size,
    differentiable.

    `rng` decides everything random; it may be None for a loader without randomness.
    """
    return augment(torch.stack([_resize(_crop(p, how, rng), size) for p in photos]), how, rng)


def augment(x: Images, how: Preprocessing, rng: torch.Generator | None = None) -> Images:
    """What a loader does after it has cut and resized (flip, blur, JPEG) to n x 3 x h x w in [0,
    1].
    """
    if how.flip:
        flips = torch.rand(len(x), generator=rng) < how.flip
        x = torch.where(flips.to(x.device)[:, None, None, None], x.flip(-1), x)
    if how.blur:
        x = _blur(x, how.blur, _uniform(len(x), how.blur_sigma, rng).to(x.device))
    if how.jpeg:
        x = jpeg(x, _uniform(len(x), how.jpeg, rng).to(x.device))
    return x


def _uniform(n: int, span: tuple[float, float], rng: torch.Generator | None) -> Tensor:
    return span[0] + (span[1] - span[0]) * torch.rand(n, generator=rng)


def _crop(photo: Tensor, how: Preprocessing, rng: torch.Generator | None) -> Tensor:
    """A square of the photo: the centre, or one whose place (and size, with zoom) is drawn."""
    height, width = photo.shape[-2:]
    side = min(height, width)
    fy = fx = 0.5
    if how.zoom < 1:
        side = max(
            1, round(side * (how.zoom + (1 - how.zoom) * torch.rand((), generator=rng).item()))
        )
    if how.crop == "slide" or how.zoom < 1:
        # beyond the ends and back: otherwise the outermost strips would hardly ever be seen
        fy, fx = (1.5 * torch.rand(2, generator=rng) - 0.25).clamp(0, 1).tolist()
    top, left = round((height - side) * fy), round((width - side) * fx)
    return photo[..., top : top + side, left : left + side]


def _resize(square: Tensor, size: int) -> Tensor:
    """Bilinear with antialiasing, as PIL and the trainers do it.

    As two matrix products: F.interpolate's own backward is missing on mps and adds up in any order
    on cuda.
    """
    side = square.shape[-1]
    if side == size:
        return square
    weights = _resize_weights(side, size).to(square)
    return weights @ square @ weights.mT


@lru_cache(maxsize=256)
def _resize_weights(side: int, size: int) -> Tensor:
    """size x side: what each pixel of the result takes from each of the source."""
    return F.interpolate(
        torch.eye(side)[None, None], (size, side), mode="bilinear", antialias=True
    )[0, 0]


def _blur(x: Images, kernel: int, sigma: Tensor) -> Images:
    from kornia.filters import gaussian_blur2d

    return gaussian_blur2d(x, kernel, sigma[:, None].expand(-1, 2))


def jpeg(x: Images, quality: Tensor) -> Images:
    """JPEG of n pictures, a quality each, with straight-through rounding (kornia).

    Sides are padded to the 16 px that chroma subsampling needs.
    """
    from kornia.enhance import jpeg_codec_differentiable

    height, width = x.shape[-2:]
    padded = F.pad(x, (0, -width % 16, 0, -height % 16), mode="replicate")
    return jpeg_codec_differentiable(padded, quality)[..., :height, :width]
