"""Multi-scale structural similarity (Wang et al. 2003): five scales, the published weights, RGB
averaged (torchmetrics).

The coarsest of the five scales must still hold the 11 px window, so photos need sides of at least
176 px. Photos above a megapixel are scored in horizontal strips, weighted by height, so that memory
stays bounded; that is not quite the same number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from cloakwork.types import Images, Photos

VERSION = 1
SCOPE, BETTER, RANGE, UNIT, REFERENCE = "image", "higher", (0, 1), "", "originals"
SMALLEST = 176  # px: torchmetrics asks that four halvings leave 11 px, the window
STRIP = 1_000_000  # pixels
MISSING = (
    f"MS-SSIM's five scales need sides of at least {SMALLEST} px; 'ssim' scores smaller photos."
)


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """n numbers for n photos (each 3 x H x W in [0, 1]) and their originals; NaN below 176 px."""
    return torch.stack([_ms_ssim(a, b) for a, b in zip(images, reference, strict=True)])


def _ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure as ms_ssim,
    )

    height, width = a.shape[-2:]
    if min(height, width) < SMALLEST:
        return torch.tensor(float("nan"))
    strips = min(-(-height * width // STRIP), height // SMALLEST)
    pairs = zip(a.tensor_split(strips, dim=-2), b.tensor_split(strips, dim=-2), strict=True)
    total = torch.zeros(())
    for x, y in pairs:
        # the betas are Wang's; "relu" keeps a negative term from having no real power
        total = total + x.shape[-2] / height * cast(
            Tensor, ms_ssim(x[None], y[None], data_range=1.0, normalize="relu")
        )
    return total
