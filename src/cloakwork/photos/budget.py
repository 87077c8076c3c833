"""The size photos are perturbed at: their own, up to a limit that keeps memory bounded whatever a
camera makes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.photos.tensors import as_float

# Short side, pixels. Larger photos are perturbed at this size and the perturbation (never the
# photo) is enlarged:
# thieves' loaders shrink photos to 512 or 1024 px anyway.
WORK_SIDE = 1024
STRIP = 256  # rows


def working_copy(pixels: Tensor, side: int = WORK_SIDE) -> Tensor:
    """uint8 3 x H x W to float in [0, 1], its shorter side at most `side`."""
    x = as_float(pixels)
    scale = side / min(x.shape[-2:])
    if scale >= 1:
        return x
    size = (round(x.shape[-2] * scale), round(x.shape[-1] * scale))
    return F.interpolate(x[None], size, mode="bilinear", antialias=True)[0]


def apply_perturbation(pixels: Tensor, delta: Tensor, budget: float) -> Tensor:
    """The photo (uint8, 3 x H x W) plus a perturbation of its own or of its working size, rounded
    within the budget; uint8.
    """
    if delta.shape != pixels.shape:
        delta = F.interpolate(delta[None], pixels.shape[-2:], mode="bilinear")[0]
    strips = zip(
        pixels.split(STRIP, dim=-2), delta.split(STRIP, dim=-2), strict=True
    )  # floats of a strip at a time
    return torch.cat([round_within(as_float(p) + d, p, budget) for p, d in strips], dim=-2)


def round_within(pixels: Tensor, original: Tensor, budget: float) -> Tensor:
    """Round float pixels to 8 bits, towards the original, such that max |result - original| <=
    budget.

    Args:
        pixels: 3 x H x W, float, in [0, 1]; may be out of the budget or the range, and is brought
            back into both.
        original: 3 x H x W, uint8.
        budget: largest change in 1/255 of the pixel range, >= 0, whole or not (12.75 allows changes
            of 12 levels).

    Returns:
        3 x H x W, uint8.

    Raises:
        ValueError: a pixel is NaN or infinite; rounding it would hide that a protection has failed.
    """
    if not pixels.isfinite().all():
        raise ValueError("pixels hold NaN or infinity: the computation that made them has failed")
    start = original.to(pixels.device).float()
    change = pixels.float() * 255 - start
    # Half a thousandth of a level is float error: 4 levels stored as 3.99998 stay 4.
    levels = (change.abs() + 5e-4).floor().clamp(max=math.floor(budget))
    return (start + levels * change.sign()).clamp(0, 255).to(torch.uint8)
