"""Noticed: how far a change goes beyond what the eye would notice, in just-noticeable differences.

Of each pixel's change in brightness the share of its just-noticeable difference is taken (Wu et
al. 2017; see `photos.visibility`); the number is what 95 % of the pixels stay below. Photos over
1024 px are seen at that size, as on a screen.

In words: up to .5 nobody sees a change, up to 1.2 one sees it close up, beyond that at once. These
bounds were set by looking at protected portraits, skies, fur and flat drawings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.photos.rounding import working_copy
from cloakwork.photos.tensors import floats, to_bytes
from cloakwork.photos.visibility import brightness, noticeable
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 1
METRIC = MetricInfo(
    scope="image", better="lower", range=(0, math.inf), unit="JND", reference="originals"
)
SHARE = 0.95  # of the pixels
# up to this many just-noticeable differences -> in a word
WORDS = {0.0: "unchanged", 0.5: "unseen", 1.2: "seen close up", math.inf: "seen at once"}


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


@torch.no_grad()
def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n numbers of n photos (3 x H x W in [0, 1], or uint8) beside their originals."""
    return torch.stack([_noticed(a, b) for a, b in zip(images, reference, strict=True)])


def word(noticed: float) -> str:
    """Return how visible a change is, in a word.

    >>> word(0.4), word(0.8), word(2)
    ('unseen', 'seen close up', 'seen at once')
    """
    return next(w for most, w in WORDS.items() if noticed <= most)


def _noticed(photo: Tensor, original: Tensor) -> Tensor:
    """Compare a photo with its original."""
    a, b = (working_copy(x if x.dtype == torch.uint8 else to_bytes(x)) for x in (photo, original))
    change = (brightness(floats(a)) - brightness(floats(b))).abs() / noticeable(floats(b))
    return change.flatten().kthvalue(math.ceil(SHARE * change.numel())).values
