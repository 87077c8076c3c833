"""LPIPS (Zhang et al., arXiv 1801.03924): distance of AlexNet features, version 0.1; how different
two photos look.

Photos above half a megapixel are scored in horizontal strips, weighted by height, so that memory
stays bounded; features at the seams see padding instead of the neighbour, so the number is not
quite that of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.models.lpips import load_lpips
from cloakwork.types import Images, Photos

VERSION = 1
SCOPE, BETTER, RANGE, UNIT, REFERENCE = "image", "lower", (0, float("inf")), "", "originals"
SMALLEST = 32  # px: AlexNet's two poolings leave nothing of less
STRIP = 500_000  # pixels
MISSING = f"LPIPS needs sides of at least {SMALLEST} px."


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def instrument(cfg: Config) -> str:
    """The network."""
    return "LPIPS AlexNet 0.1"


@torch.no_grad()
def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """n numbers for n photos (each 3 x H x W in [0, 1]) and their originals; NaN below 32 px."""
    return torch.stack([_lpips(a, b) for a, b in zip(images, reference, strict=True)])


def _lpips(a: Tensor, b: Tensor) -> Tensor:
    net, (height, width) = load_lpips(), a.shape[-2:]
    if min(height, width) < SMALLEST:
        return torch.tensor(float("nan"))
    strips = min(-(-height * width // STRIP), height // SMALLEST)
    pairs = zip(a.tensor_split(strips, dim=-2), b.tensor_split(strips, dim=-2), strict=True)
    return torch.stack([x.shape[-2] / height * net(x[None], y[None])[0] for x, y in pairs]).sum()
