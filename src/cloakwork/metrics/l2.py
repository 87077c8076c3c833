"""Root of the mean squared change of a pixel value, 1/255.

That is the Euclidean norm over the root of the number of values, so that photos of different sizes
compare. The plain norm of the change on [0, 1] is this times sqrt(3 H W) / 255.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 1
METRIC = MetricInfo(
    scope="image", better="lower", range=(0, 255), unit="1/255", reference="originals"
)


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n changes, 1/255, of n photos (3 x H x W in [0, 1]) from their originals."""
    return torch.stack(
        [(a - b).square().mean().sqrt() * 255 for a, b in zip(images, reference, strict=True)]
    )
