"""Root of the mean squared change of a pixel value, 1/255: the Euclidean norm over the root of the
number of values.

Divided so that photos of different sizes compare. The plain norm of the change on [0, 1] is this
times sqrt(3 H W) / 255.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.types import Images, Photos

VERSION = 1
SCOPE, BETTER, RANGE, UNIT, REFERENCE = "image", "lower", (0, 255), "1/255", "originals"


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """n numbers for n photos (each 3 x H x W in [0, 1]) and their originals."""
    return torch.stack(
        [(a - b).square().mean().sqrt() * 255 for a, b in zip(images, reference, strict=True)]
    )
