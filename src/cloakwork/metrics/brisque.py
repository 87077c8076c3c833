"""BRISQUE: how unnatural a picture's local contrast is, about 0 (natural) to 100 (ruined).

Mittal, Moorthy, Bovik, "No-Reference Image Quality Assessment in the Spatial Domain", IEEE TIP 21
(2012): 18 statistics of contrast-normalised brightness at two scales, a support vector regressor
trained on the LIVE database. Checked against the Python package brisque 0.2.0 (which
Anti-DreamBooth's evaluation uses), whose regressor this is. The score is not limited to [0, 100].

Departures of the package from the release, behind `recipe`: brightness by Rec. 709 weights
(release: Rec. 601), the second scale by cubic interpolation without antialiasing (release: with).
"package" is the default for the sake of the field's numbers. Departures of ours: colours are
rounded to 8 bits first, as a saved picture's are; the shape parameter is bounded to [0.2, 10], the
release's table (the package solves without bounds); of an odd side the second scale drops the half
pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.models.brisque import features, predict
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 1
METRIC = MetricInfo(
    scope="image", better="lower", range=(-math.inf, math.inf), unit="", reference=None
)
SMALLEST = 32  # px
MISSING = (
    f"BRISQUE needs sides of at least {SMALLEST} px and a picture that is not one flat colour."
)
LUMA = {"package": (0.2125, 0.7154, 0.0721), "release": (0.2989, 0.5870, 0.1140)}


@dataclass(frozen=True)
class Config:
    """Whose arithmetic."""

    recipe: Literal["package", "release"] = "package"
    """brightness and halving as in the Python package, or as in the authors' release"""


def score(
    images: Images | Photos, reference: Photos | None, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n scores for n pictures (3 x H x W in [0, 1]); NaN below 32 px and for flat ones."""
    return torch.stack([_brisque(x, cfg.recipe) for x in images]).float()


def _brisque(x: Tensor, recipe: str) -> Tensor:
    """Score one picture."""
    if min(x.shape[-2:]) < SMALLEST:
        return torch.tensor(float("nan"), dtype=torch.double)
    grey = torch.zeros(x.shape[-2:], dtype=torch.double)
    for weight, channel in zip(LUMA[recipe], x, strict=True):
        grey += weight / 255 * (channel * 255).round()
    if grey.std() < 1 / 255:
        return torch.tensor(float("nan"), dtype=torch.double)
    shape = [n // 2 for n in grey.shape]
    if recipe == "package":
        half = F.interpolate(
            grey[None, None], scale_factor=0.5, mode="bicubic", recompute_scale_factor=False
        )[0, 0]
    else:
        half = F.interpolate(grey[None, None], shape, mode="bicubic", antialias=True)[0, 0]
    return predict(torch.cat([features(grey), features(half)]))
