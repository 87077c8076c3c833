"""Random differentiable transformations, as an attacker's data loader does them to a photo.

Expectation over transformation (Athalye et al., arXiv 1707.07397). Parameters are drawn for each
photo on its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.photos.tensors import send
from cloakwork.registry import IN_KEY
from cloakwork.types import Images, Photos


@dataclass(frozen=True)
class Preprocessing:
    """How an attacker reads photos: resized and cut at the centre, as the published trainers do."""

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
    jpeg_quality: tuple[int, int] | None = field(default=None, metadata={IN_KEY: "jpeg"})
    """range of JPEG qualities (None: no compression)"""


CENTRE = Preprocessing()
SLIDE = Preprocessing(crop="slide")  # for PGD: no strip of an oblong photo stays unprotected


def preprocess(
    photos: Photos, size: int, loader: Preprocessing = CENTRE, rng: torch.Generator | None = None
) -> Images:
    """Cut and resize photos to the pictures that a model sees; differentiable.

    Args:
        photos: each 3 x H x W in [0, 1], of any size.
        size: side of the model's pictures, pixels.
        loader: what the loader does.
        rng: decides everything random; None for a loader without randomness.

    Returns:
        n x 3 x size x size in [0, 1].

    >>> preprocess([torch.zeros(3, 40, 60), torch.zeros(3, 90, 50)], size=32).shape
    torch.Size([2, 3, 32, 32])
    """
    return augment(cut(photos, draw_squares(photos, loader, rng), size), loader, rng)


class Square(NamedTuple):
    """A square of a photo, pixels."""

    top: int
    left: int
    side: int


def draw_squares(
    photos: Photos, loader: Preprocessing, rng: torch.Generator | None = None
) -> list[Square]:
    """Draw what `preprocess` cuts out of photos.

    >>> draw_squares([torch.zeros(3, 40, 60)], CENTRE)
    [Square(top=0, left=10, side=40)]
    """
    return [_draw_square(p, loader, rng) for p in photos]


def cut(photos: Photos, squares: list[Square], size: int) -> Images:
    """Cut a square out of each photo, resized to n x 3 x size x size; differentiable."""
    parts = [
        p[..., s.top : s.top + s.side, s.left : s.left + s.side]
        for p, s in zip(photos, squares, strict=True)
    ]
    return torch.stack([_resize(part, size) for part in parts])


def augment(x: Images, loader: Preprocessing, rng: torch.Generator | None = None) -> Images:
    """Flip, blur and compress pictures (n x 3 x h x w in [0, 1]) that are cut and resized already.

    >>> x = torch.tensor([0.0, 1.0]).expand(1, 3, 1, 2)
    >>> augment(x, Preprocessing(flip=1.0), torch.Generator())[0, 0].tolist()
    [[1.0, 0.0]]
    """
    if loader.flip:
        flips = torch.rand(len(x), generator=rng) < loader.flip
        x = torch.where(send(flips, x.device)[:, None, None, None], x.flip(-1), x)
    # kornia reads these on the CPU, where nobody has to wait for them, and moves them itself
    if loader.blur:
        x = _blur(x, loader.blur, _uniform(len(x), loader.blur_sigma, rng))
    if loader.jpeg_quality:
        x = jpeg(x, _uniform(len(x), loader.jpeg_quality, rng))
    return x


def _uniform(n: int, span: tuple[float, float], rng: torch.Generator | None) -> Tensor:
    return span[0] + (span[1] - span[0]) * torch.rand(n, generator=rng)


def _draw_square(photo: Tensor, loader: Preprocessing, rng: torch.Generator | None) -> Square:
    """Return a photo's centre, or a square whose place (and size, with zoom) is drawn."""
    height, width = photo.shape[-2:]
    side = min(height, width)
    fy = fx = 0.5
    if loader.zoom < 1:
        share = loader.zoom + (1 - loader.zoom) * torch.rand((), generator=rng).item()
        side = max(1, round(side * share))
    if loader.crop == "slide" or loader.zoom < 1:
        # beyond the ends and back: otherwise the outermost strips would hardly ever be seen
        fy, fx = (1.5 * torch.rand(2, generator=rng) - 0.25).clamp(0, 1).tolist()
    return Square(round((height - side) * fy), round((width - side) * fx), side)


def _resize(square: Tensor, size: int) -> Tensor:
    return square if square.shape[-1] == size else bilinear(square, size, size)


def bilinear(photo: Tensor, height: int, width: int) -> Tensor:
    """Resize bilinearly with antialiasing, as PIL and the trainers do; differentiable.

    As two matrix products: F.interpolate's own backward is missing on mps and adds up in any order
    on cuda.

    >>> bilinear(torch.ones(3, 4, 6), 2, 5).shape
    torch.Size([3, 2, 5])
    """
    down, across = (
        send(_resize_weights(side, size), photo.device).to(photo.dtype)
        for side, size in zip(photo.shape[-2:], (height, width), strict=True)
    )
    return down @ photo @ across.mT


@lru_cache(maxsize=256)
def _resize_weights(side: int, size: int) -> Tensor:
    """Compute what each pixel of the result takes from each of the source, size x side."""
    return F.interpolate(
        torch.eye(side)[None, None], (size, side), mode="bilinear", antialias=True
    )[0, 0]


def _blur(x: Images, kernel: int, sigma: Tensor) -> Images:
    from kornia.filters import gaussian_blur2d

    return gaussian_blur2d(x, kernel, sigma[:, None].expand(-1, 2))


def jpeg(x: Images, quality: Tensor) -> Images:
    """Compress n pictures as JPEG, a quality each (kornia).

    Coefficients are rounded by a cubic, round(c) + (c - round(c))^3 (Shin and Song, 2017): its
    gradient is 0 where c is whole, and 3/4 half-way between.

    Sides are padded to the 16 px that chroma subsampling needs.

    Args:
        x: n x 3 x h x w in [0, 1].
        quality: n qualities, 1 to 100.
    """
    from kornia.enhance import jpeg_codec_differentiable

    height, width = x.shape[-2:]
    padded = F.pad(x, (0, -width % 16, 0, -height % 16), mode="replicate")
    return jpeg_codec_differentiable(padded, quality)[..., :height, :width]
