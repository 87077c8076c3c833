"""Learned: a pattern that was learned beforehand is laid over a photo in one pass, in a moment.

Ours, after FastProtect (arXiv 2412.11423), which learns a few perturbations once and chooses among
them per photo. With P_k one of a few tiles, repeated over the photo from a random place on:

    x' = x + budget * P_k

Each P_k was learned on thousands of photos to do what `pid` does to one: to move mean and log
variance of the encoder's posterior, through the encoders of several families, and through loaders
of many sizes, blur and JPEG (`workflows/learn_pattern.py`). No surrogate is asked when it is used.
A photo whose shorter side is longer than `side` is perturbed at that size, and the perturbation is
enlarged, since that is about what the loaders of image models see. The seed decides pattern and
place, for each photo anew.

Whoever has this package has the patterns, can look for the one that a photo has, and subtract it:
the purifier `subtract` does. An attacker who knows of it is not kept back. `cloakwork
learn-pattern` learns patterns that nobody else has (field `weights`). Those are no secret either
where a photo holds several tiles: what repeats can be told from what does not
(`subtract:blind=True`).

Departures: not the paper's losses, data or choice by clusters of latents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from cloakwork.errors import check_ranges
from cloakwork.files import expand_home
from cloakwork.models import protector
from cloakwork.models.ldm import LDM
from cloakwork.perturbation.pgd import project
from cloakwork.photos.rounding import size_at_most
from cloakwork.photos.tensors import is_grey
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 2  # 1 had a network that mixed sixteen tiles; attackers did not mind
USES_SURROGATES = False
SINGLY = True
TRAINED_AGAINST = "tiny, tiny-b and small encoders of two latent spaces (sd3, flux2)"


@dataclass(frozen=True)
class Config:
    """How loud, and at what size."""

    budget: float = 11
    """largest change of a pixel, 1/255"""
    strength: Strength = field(default="uniform", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """how the budget follows the photo: not at all; or less where the eye would notice a change"""
    side: int = 1024
    """shorter side at which larger photos are perturbed, pixels"""
    weights: str = ""
    """folder that `cloakwork learn-pattern` wrote (empty: the package's own patterns)"""

    def __post_init__(self) -> None:
        check_ranges(self, side=(32, 65500))


PRESETS = {"tiny": Config(), "paper": Config()}


def instrument(cfg: Config) -> str:
    """Name the patterns."""
    return protector.identity(_folder(cfg))


@torch.no_grad()
def protect(
    photos: Photos,
    surrogates: list[LDM],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) with a pattern over them; looks at no surrogate.

    Raises:
        UserError: the patterns are not there.
    """
    limits = state.limits or len(photos) * [cfg.budget]

    def perturbed(photo: Tensor, limit: Tensor | float) -> Tensor:
        patterns = protector.load(_folder(cfg), photo.device)
        which, row, column = (
            int(torch.randint(n, (), generator=rng))
            for n in (len(patterns), protector.TILE, protector.TILE)
        )
        pattern = patterns[which]
        if is_grey(photo):  # all channels change by the same; their mean would be fainter
            pattern = pattern[:1].expand_as(pattern)
        size = size_at_most(photo, cfg.side)
        shares = protector.laid_over(photo, pattern, (row, column), size)
        return shares.contiguous().mul_(limit / 255).add_(photo)  # in place: photos may be large

    moved = [perturbed(p, limit) for p, limit in zip(photos, limits, strict=True)]
    return project(moved, photos, limits)


def _folder(cfg: Config) -> Path:
    """Return the folder of the patterns."""
    return Path(expand_home(cfg.weights)) if cfg.weights else protector.EMBEDDED
