"""LPIPS: how different two photos look, by the distance of their AlexNet features.

Zhang et al., arXiv 1801.03924, version 0.1. Photos above half a megapixel are scored in horizontal
strips, weighted by height, so that memory stays bounded; features at the seams see padding instead
of the neighbour, so the number is not quite that of the whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.metrics._strips import strips
from cloakwork.models.lpips import load_lpips
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 1
METRIC = MetricInfo(
    scope="image", better="lower", range=(0, math.inf), unit="", reference="originals"
)
SMALLEST = 32  # px: AlexNet's two poolings leave nothing of less
STRIP = 500_000  # pixels
MISSING = f"LPIPS needs sides of at least {SMALLEST} px."


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def instrument(cfg: Config) -> str:
    """Name the network."""
    return "LPIPS AlexNet 0.1"


@torch.no_grad()
def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n distances of n photos (3 x H x W in [0, 1]) to their originals; NaN below 32 px."""
    return torch.stack([_lpips(a, b) for a, b in zip(images, reference, strict=True)])


def _lpips(a: Tensor, b: Tensor) -> Tensor:
    """Compare a photo with its original."""
    if min(a.shape[-2:]) < SMALLEST:
        return torch.tensor(float("nan"))
    net, parts = load_lpips(), strips(a, b, STRIP, SMALLEST)
    return torch.stack([share * net(x[None], y[None])[0] for share, x, y in parts]).sum()
