"""The size that photos are perturbed at, and the rounding of a perturbation within its budget.

Photos are perturbed at their own size, up to a limit that keeps memory bounded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.photos.tensors import as_float, is_grey, to_bytes
from cloakwork.types import Limit

# Short side, pixels. Larger photos are perturbed at this size and the perturbation (never the
# photo) is enlarged: attackers' loaders shrink photos to 512 or 1024 px anyway.
WORK_SIDE = 1024
STRIP = 256  # rows


def working_copy(pixels: Tensor, side: int = WORK_SIDE) -> Tensor:
    """Return the copy of a photo that a perturbation is computed on.

    Args:
        pixels: 3 x H x W, uint8.
        side: longest allowed short side, pixels.

    Returns:
        3 x h x w, float32, in [0, 1], with its short side at most `side`.

    >>> working_copy(torch.zeros(3, 400, 600, dtype=torch.uint8), side=100).shape
    torch.Size([3, 100, 150])
    """
    return at_most(as_float(pixels), side)


def at_most(x: Tensor, side: int) -> Tensor:
    """Return a photo (3 x H x W) made smaller, so that its short side is at most `side`.

    >>> at_most(torch.zeros(3, 40, 60), side=80).shape
    torch.Size([3, 40, 60])
    """
    size = size_at_most(x, side)
    if size == x.shape[-2:]:
        return x
    return F.interpolate(x[None], size, mode="bilinear", antialias=True)[0]


def size_at_most(x: Tensor, side: int) -> tuple[int, int]:
    """Return height and width of what `at_most` gives of a photo.

    >>> size_at_most(torch.zeros(3, 40, 60), side=20)
    (20, 30)
    """
    height, width = x.shape[-2:]
    scale = min(1.0, side / min(height, width))
    return round(height * scale), round(width * scale)


def seen_grey(pixels: Tensor, side: int = WORK_SIDE) -> bool:
    """Return whether the working copy of a photo (3 x H x W, uint8) is grey, at 8 bits.

    >>> seen_grey(torch.full((3, 64, 64), 7, dtype=torch.uint8))
    True
    """
    red, green, blue = (pixels.sum((1, 2)) / pixels[0].numel()).tolist()
    # nearly all photos with colours, without the time and the memory of a copy: a smaller copy's
    # channels have the same means, and rounding moves each by half a level at most
    if max(red, green, blue) - min(red, green, blue) > 1:
        return False
    return is_grey(to_bytes(working_copy(pixels, side)))


def apply_perturbation(pixels: Tensor, delta: Tensor, budget: Limit) -> Tensor:
    """Add a perturbation to a photo and round the sum within the budget.

    Args:
        pixels: 3 x H x W, uint8.
        delta: 3 x h x w, float, in units of the pixel range, of the photo's size or of its working
            copy's.
        budget: largest change of a pixel, 1/255; or a map of the pixels, of either size.

    Returns:
        3 x H x W, uint8.

    >>> grey = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    >>> apply_perturbation(grey, torch.full((3, 32, 32), 0.1), budget=8).unique().tolist()
    [136]
    """
    strips = pixels.split(STRIP, dim=-2)  # floats of a strip at a time
    deltas = _enlarged(delta, pixels).split(STRIP, dim=-2)
    limits: Sequence[Limit] = len(strips) * [budget]
    if isinstance(budget, Tensor):
        limits = _enlarged(budget, pixels).split(STRIP, dim=-2)
    return torch.cat(
        [
            round_within(as_float(p) + d, p, lim)
            for p, d, lim in zip(strips, deltas, limits, strict=True)
        ],
        dim=-2,
    )


def _enlarged(x: Tensor, like: Tensor) -> Tensor:
    """Return c x h x w at the height and width of another."""
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x[None], size, mode="bilinear")[0]


def round_within(pixels: Tensor, original: Tensor, budget: Limit) -> Tensor:
    """Round float pixels to 8 bits, towards the original, such that max |result - original| <=
    budget.

    Args:
        pixels: 3 x H x W, float, in [0, 1]; may be out of the budget or the range, and is brought
            back into both.
        original: 3 x H x W, uint8.
        budget: largest change in 1/255 of the pixel range, >= 0, whole or not (12.75 allows changes
            of 12 levels); or a map of the pixels, 1 x H x W.

    Returns:
        3 x H x W, uint8.

    Raises:
        ValueError: a pixel is NaN or infinite; rounding it would hide that a protection has failed.

    >>> original = torch.full((3, 1, 2), 100, dtype=torch.uint8)
    >>> wanted = torch.tensor([103.7, 140.0]).expand(3, 1, 2) / 255
    >>> round_within(wanted, original, budget=12.75)[0].tolist()
    [[103, 112]]
    """
    if not pixels.isfinite().all():
        raise ValueError("pixels hold NaN or infinity: the computation that made them has failed")
    start = original.to(pixels.device).float()
    change = pixels.float() * 255 - start
    # Half a thousandth of a level is float error: 4 levels stored as 3.99998 stay 4.
    most = budget.to(start).floor() if isinstance(budget, Tensor) else math.floor(budget)
    levels = (change.abs() + 5e-4).floor().clamp(max=most)
    return (start + levels * change.sign()).clamp(0, 255).to(torch.uint8)
