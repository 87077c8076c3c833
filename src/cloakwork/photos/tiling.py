"""Overlapping windows of one size that cover a photo of any size, joined again without seams."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.types import Images

Places = list[tuple[int, int]]  # top and left of each window, pixels


def places(height: int, width: int, size: int, stride: int) -> Places:
    """Return where windows lie on a photo that is padded to a whole number of strides (see `cut`).

    Args:
        height: of the photo, pixels.
        width: of the photo, pixels.
        size: side of a window, pixels.
        stride: from one window to the next, pixels.

    Raises:
        UserError: the photo is smaller than the window.

    >>> places(40, 60, size=40, stride=20)
    [(0, 0), (0, 20)]
    """
    if min(height, width) < size:
        raise UserError(too_small(height, width, size))
    tops, lefts = (range(0, side - size + stride, stride) for side in (height, width))
    return [(top, left) for top in tops for left in lefts]


def too_small(height: int, width: int, size: int) -> str:
    """Return the sentence about a photo that a window does not fit on."""
    return (
        f"A photo is {width} x {height} px, smaller than the window of {size} px "
        "that this model works on; "
        f"enlarge it to at least {size} px on both sides, or take another purifier."
    )


def cut(x: Tensor, at: Places, size: int) -> Images:
    """Cut windows out of a picture; what lies beyond its far borders is its mirror image.

    Args:
        x: a picture, or any field of its shape, c x H x W.
        at: from `places`.
        size: side of a window, pixels.

    Returns:
        n x c x size x size.
    """
    bottom, right = (max(place[axis] for place in at) + size for axis in (0, 1))
    x = F.pad(x, (0, right - x.shape[-1], 0, bottom - x.shape[-2]), mode="reflect")
    return torch.stack([x[:, top : top + size, left : left + size] for top, left in at])


def join(windows: Images, at: Places, height: int, width: int) -> Tensor:
    """Join windows to the picture that they were cut from.

    Where they overlap, a window counts the less the nearer its border is.

    Args:
        windows: n x c x size x size.
        at: from `places`.
        height: of the picture, pixels.
        width: of the picture, pixels.

    Returns:
        c x height x width.

    >>> x = torch.rand(3, 45, 60)
    >>> at = places(45, 60, size=40, stride=20)
    >>> torch.allclose(join(cut(x, at, 40), at, 45, 60), x)
    True
    """
    size = windows.shape[-1]
    ramp = torch.minimum(torch.arange(1, size + 1), torch.arange(size, 0, -1)).to(windows)
    weight = ramp[:, None] * ramp
    bottom, right = (max(place[axis] for place in at) + size for axis in (0, 1))
    total = windows.new_zeros(windows.shape[1], bottom, right)
    weights = windows.new_zeros(bottom, right)
    for window, (top, left) in zip(windows, at, strict=True):
        here = slice(top, top + size), slice(left, left + size)
        total[:, *here] += weight * window
        weights[here] += weight
    return (total / weights)[:, :height, :width]
