"""Multi-scale structural similarity (Wang et al. 2003): five scales, RGB channels averaged.

By torchmetrics, with the published weights. The coarsest of the five scales must still hold the
11 px window, so photos need sides of at least 176 px. Photos above a megapixel are scored in
horizontal strips, weighted by height, so that memory stays bounded; that is not quite the same
number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from cloakwork.metrics._strips import strips
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 1
METRIC = MetricInfo(scope="image", better="higher", range=(0, 1), unit="", reference="originals")
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
    """Return n scores for n photos (3 x H x W in [0, 1]) and their originals; NaN below 176 px."""
    return torch.stack([_ms_ssim(a, b) for a, b in zip(images, reference, strict=True)])


def _ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Compare a photo with its original."""
    from torchmetrics.functional.image import (
        multiscale_structural_similarity_index_measure as ms_ssim,
    )

    if min(a.shape[-2:]) < SMALLEST:
        return torch.tensor(float("nan"))
    total = torch.zeros(())
    for share, x, y in strips(a, b, STRIP, SMALLEST):
        # the betas are Wang's; "relu" keeps a negative term from having no real power
        value = ms_ssim(x[None], y[None], data_range=1.0, normalize="relu")
        total = total + share * cast(Tensor, value)
    return total
