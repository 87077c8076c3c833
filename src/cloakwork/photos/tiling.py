"""Photos of any size through what works on squares of one size: overlapping windows, joined again
without seams.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.types import Images

Places = list[tuple[int, int]]  # top and left of each window, pixels


def places(height: int, width: int, size: int, stride: int) -> Places:
    """Where windows lie on a photo that was padded to a whole number of strides (see `cut`).

    Raises:
        UserError: the photo is smaller than the window.
    """
    if min(height, width) < size:
        raise UserError(too_small(height, width, size))
    tops, lefts = (range(0, side - size + stride, stride) for side in (height, width))
    return [(top, left) for top in tops for left in lefts]


def too_small(height: int, width: int, size: int) -> str:
    """The sentence about a photo that a window does not fit on."""
    return (
        f"A photo is {width} x {height} px, smaller than the window of {size} px that this model works on; "
        f"enlarge it to at least {size} px on both sides, or take another purifier."
    )


def cut(x: Tensor, at: Places, size: int) -> Images:
    """Windows of a picture or field (c x H x W): n x c x size x size. What lies beyond its far
    borders is its mirror image.
    """
    bottom, right = (max(place[axis] for place in at) + size for axis in (0, 1))
    x = F.pad(x, (0, right - x.shape[-1], 0, bottom - x.shape[-2]), mode="reflect")
    return torch.stack([x[:, top : top + size, left : left + size] for top, left in at])


def join(windows: Images, at: Places, height: int, width: int) -> Tensor:
    """The picture (c x H x W) whose windows these are; where they overlap a window counts the less
    the nearer its border is.
    """
    size = windows.shape[-1]
    ramp = torch.minimum(torch.arange(1, size + 1), torch.arange(size, 0, -1)).to(windows)
    weight = ramp[:, None] * ramp
    bottom, right = (max(place[axis] for place in at) + size for axis in (0, 1))
    total, weights = (
        windows.new_zeros(windows.shape[1], bottom, right),
        windows.new_zeros(bottom, right),
    )
    for window, (top, left) in zip(windows, at, strict=True):
        here = slice(top, top + size), slice(left, left + size)
        total[:, *here] += weight * window
        weights[here] += weight
    return (total / weights)[:, :height, :width]
