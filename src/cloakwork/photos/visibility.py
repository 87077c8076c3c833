"""How much a pixel may change before the eye sees it, and budgets that follow that.

The just-noticeable difference is that of Wu, Li, Dong, Shi, Lin and Kuo, "Enhanced Just Noticeable
Difference Model for Images With Pattern Complexity", IEEE Transactions on Image Processing 26(6),
2017, with all constants theirs, on the brightness Y in levels of 8 bits:

    JND = LA + VM - .3 min(LA, VM),    VM = max(LC, edge * PM)

LA is what the brightness around a pixel hides, LC what the contrast around it hides (the standard
deviation s of 5 x 5 pixels), PM what a pattern of many directions hides. On a flat area only LA is
left: 2 levels on mid-grey, 4 on white. On texture it is 10 and more.

Departures: edges are where the gradient is over 60 levels (there Canny's); borders are continued.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torch import Tensor

from cloakwork.types import Limit, Photos

# strength -> just-noticeable differences
SHARES = {"faint": 0.5, "normal": 1.0, "strong": 2.0}

LUMA = (0.299, 0.587, 0.114)
# weights of the brightness around a pixel (Chou and Li 1995)
AROUND = ((1, 1, 1, 1, 1), (1, 2, 2, 2, 1), (1, 2, 0, 2, 1), (1, 2, 2, 2, 1), (1, 1, 1, 1, 1))
# gradients in four directions (the same)
ACROSS = ((0, 0, 0, 0, 0), (1, 3, 8, 3, 1), (0, 0, 0, 0, 0), (-1, -3, -8, -3, -1), (0, 0, 0, 0, 0))
ASLANT = ((0, 0, 1, 0, 0), (0, 8, 3, 0, 0), (1, 3, 0, -3, -1), (0, 0, -3, -8, 0), (0, 0, -1, 0, 0))
DARKEST = 32  # levels; in the dark nothing more is hidden than here
EDGE = 60  # levels
SMOOTH = 5  # levels; a gradient below it has no direction
SAME_DIRECTION = 12  # degrees


def follows(config: Any) -> bool:
    """Return whether a protection's budget differs from pixel to pixel, by its Config."""
    return bool(config.budget) and getattr(config, "strength", "uniform") != "uniform"


def limits(
    photos: Photos, config: Any, masks: Sequence[Tensor | None] | None = None
) -> Sequence[Limit]:
    """Return how far each photo may change, in 1/255, as a protection's Config says.

    Args:
        photos: the originals, each 3 x H x W in [0, 1].
        config: with a `budget`; without a `strength` it is uniform.
        masks: of each photo, 1 x H x W, 1 where it may change; None: everywhere.

    Returns:
        For each photo the budget; or a map, 1 x H x W, of values up to it.

    >>> from types import SimpleNamespace
    >>> limits([torch.ones(3, 8, 8)], SimpleNamespace(budget=11))
    [11]
    >>> faint = limits([torch.ones(3, 8, 8)], SimpleNamespace(budget=11, strength="faint"))
    >>> round(faint[0].max().item(), 2)
    2.1
    """
    budget = config.budget
    found: list[Limit] = [budget for _ in photos]
    if follows(config):
        share = SHARES[config.strength]
        found = [(share * noticeable(p)).clamp(max=budget) for p in photos]
    if masks is None:
        return found
    return [
        lim if m is None else lim * m.to(p) for lim, m, p in zip(found, masks, photos, strict=True)
    ]


def noticeable(photo: Tensor) -> Tensor:
    """Return the just-noticeable difference of each pixel, 1 x H x W, in 1/255.

    Args:
        photo: 3 x H x W in [0, 1].

    >>> flat = torch.full((3, 16, 16), 0.5)
    >>> round(noticeable(flat).mean().item(), 1)
    2.1
    """
    y = brightness(photo)[None]
    s = _deviation(y)
    by_contrast = 0.115 * 16 * s**2.4 / (s**2 + 26**2)
    n = _directions(y)
    by_pattern = torch.log2(1 + s) * 0.3 * n**2.7 / (n**2 + 1)
    masked = torch.maximum(by_contrast, _away_from_edges(y) * by_pattern)
    by_brightness = _by_brightness(y)
    return (by_brightness + masked - 0.3 * torch.minimum(by_brightness, masked))[0]


def brightness(photo: Tensor) -> Tensor:
    """Return the brightness Y of a photo (3 x H x W in [0, 1]), 1 x H x W, in 1/255.

    >>> brightness(torch.ones(3, 1, 1)).round().item()
    255.0
    """
    return 255 * (photo * photo.new_tensor(LUMA)[:, None, None]).sum(0, keepdim=True)


def _by_brightness(y: Tensor) -> Tensor:
    """Return what the brightness around each pixel of y (1 x 1 x H x W) hides."""
    b = F.conv2d(_padded(y, 2), _kernel(AROUND, y) / 32)
    b = torch.where(b < 127, DARKEST + b * (127 - DARKEST) / 127, b)
    dark = 17 * (1 - (b / 127).sqrt()) + 3
    return 0.7 * torch.where(b < 127, dark, 3 / 128 * (b - 127) + 3)


def _deviation(y: Tensor) -> Tensor:
    """Return the standard deviation of the 5 x 5 pixels around each."""
    x = _padded(y, 2).double()  # differences of large numbers
    mean, of_squares = F.avg_pool2d(x, 5, 1), F.avg_pool2d(x.square(), 5, 1)
    return (of_squares - mean.square()).clamp(min=0).sqrt().float()


def _directions(y: Tensor) -> Tensor:
    """Return how many directions of gradients, smooth for one, there are around each pixel."""
    step = y.new_tensor([-1.0, 0, 1]).expand(3, 3)[None, None] / 3
    dx, dy = F.conv2d(_padded(y, 1), torch.cat([step, step.mT])).split(1, 1)
    angle = torch.rad2deg(torch.atan2(dy, dx)) % 180
    bins = round(180 / SAME_DIRECTION)
    which = (angle / SAME_DIRECTION).round() % bins
    which = torch.where(torch.hypot(dx, dy) < SMOOTH, bins, which)
    # one at a time: of a large photo all together would take much memory
    n = sum(F.max_pool2d((which == k).to(y), 3, 1, 1) for k in range(bins + 1))
    n = torch.where(which == bins, 1.0, n)
    return gaussian_blur2d(n, (3, 3), (1 / 3, 1 / 3), border_type="replicate")


def _away_from_edges(y: Tensor) -> Tensor:
    """Return 1 away from edges and 0 on them: beside an edge errors are seen."""
    turned = torch.tensor(ASLANT).flip(1).tolist()
    kernels = [ACROSS, ASLANT, turned, torch.tensor(ACROSS).T.tolist()]
    across = F.conv2d(_padded(y, 2), torch.cat([_kernel(k, y) for k in kernels]) / 16)
    edge = (across.abs().amax(1, keepdim=True) > EDGE).to(y)
    return gaussian_blur2d(1 - F.max_pool2d(edge, 7, 1, 3), (5, 5), (0.8, 0.8), "replicate")


def _kernel(rows: Sequence[Sequence[int]], like: Tensor) -> Tensor:
    return like.new_tensor(rows)[None, None]


def _padded(y: Tensor, by: int) -> Tensor:
    return F.pad(y, 4 * [by], mode="replicate")
