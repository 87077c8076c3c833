"""The size photos are perturbed at: their own, up to a limit that keeps memory bounded whatever a camera makes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork import images

# Short side, pixels. Larger photos are perturbed at this size and the perturbation (never the photo) is enlarged:
# thieves' loaders shrink photos to 512 or 1024 px anyway.
WORK_SIDE = 1024
STRIP = 256  # rows


def work_copy(pixels: Tensor, side: int = WORK_SIDE) -> Tensor:
    """uint8 3 x H x W to float in [0, 1], its shorter side at most `side`."""
    x = images.unit(pixels)
    scale = side / min(x.shape[-2:])
    if scale >= 1:
        return x
    size = (round(x.shape[-2] * scale), round(x.shape[-1] * scale))
    return F.interpolate(x[None], size, mode="bilinear", antialias=True)[0]


def finish(pixels: Tensor, delta: Tensor, budget: float) -> Tensor:
    """The photo (uint8, 3 x H x W) plus a perturbation of its own or of its working size, rounded within the budget; uint8."""
    if delta.shape != pixels.shape:
        delta = F.interpolate(delta[None], pixels.shape[-2:], mode="bilinear")[0]
    strips = zip(pixels.split(STRIP, dim=-2), delta.split(STRIP, dim=-2), strict=True)  # floats of a strip at a time
    return torch.cat([images.round_within(images.unit(p) + d, p, budget) for p, d in strips], dim=-2)
