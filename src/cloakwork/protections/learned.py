"""Learned: a network that was trained beforehand perturbs a photo in one pass; no effect shown yet.

Ours, after FastProtect (arXiv 2412.11423), which learns a few perturbations and chooses among them
per photo, and RID (arXiv 2412.09844), whose network gives the perturbation itself. Here a small
network mixes a bank of tiled patterns, differently from place to place:

    x' = x + budget * tanh(sum over k of share_k(x) * pattern_k)

It was trained once to move the latents of several families' encoders, through loaders of many
sizes, blur and JPEG (`training/protector.py`); no surrogate is asked when it is used. A photo whose
shorter side is longer than `side` is looked at and perturbed at that size, and the perturbation is
enlarged, since that is about what the loaders of image models see. The seed decides where the tiles
begin.

**No effect on attackers was found yet** (docs/protections.md, In one pass): it is here to be
trained further, and to be compared with.

Departures: neither paper's network, losses or data; nothing is chosen by clusters of latents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import check_ranges
from cloakwork.files import expand_home
from cloakwork.models import protector
from cloakwork.models.ldm import LDM
from cloakwork.perturbation.pgd import project
from cloakwork.photos.rounding import at_most
from cloakwork.photos.tensors import is_grey
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 1
USES_SURROGATES = False
SINGLY = True
TRAINED_AGAINST = "small encoders of three latent spaces (sd, sd3, flux2)"


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
    """folder that training/protector.py wrote (empty: the network that comes with the package)"""

    def __post_init__(self) -> None:
        check_ranges(self, side=(32, 65500))


PRESETS = {"tiny": Config(), "paper": Config()}


def instrument(cfg: Config) -> str:
    """Name the network's weights."""
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
    """Return photos (each 3 x H x W in [0, 1]), perturbed by the network; looks at no surrogate.

    Raises:
        UserError: the network is not there.
    """
    limits = state.limits or len(photos) * [cfg.budget]

    def perturbed(photo: Tensor, limit: Tensor | float) -> Tensor:
        net = protector.load(_folder(cfg), photo.device)
        place = torch.randint(protector.TILE, (2,), generator=rng).tolist()
        small = at_most(photo, cfg.side)
        shares = net(small[None], [(place[0], place[1])])
        if is_grey(photo):  # all channels change by the same; their mean would be fainter
            shares = shares[:, :1].expand_as(shares)
        if small.shape != photo.shape:
            shares = F.interpolate(shares, photo.shape[-2:], mode="bilinear")
        shares = shares.contiguous()
        return shares[0].mul_(limit / 255).add_(photo)  # in place: photos may be large

    moved = [perturbed(p, limit) for p, limit in zip(photos, limits, strict=True)]
    return project(moved, photos, limits)


def _folder(cfg: Config) -> Path:
    """Return the folder of the network."""
    return Path(expand_home(cfg.weights)) if cfg.weights else protector.EMBEDDED
