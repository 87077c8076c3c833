"""LIQE's quality of a picture, 1 (bad) to 5 (perfect), from a CLIP fine-tuned on people's ratings.

Zhang et al., arXiv 2303.14968; see models/liqe.py for what was checked and the departures. Not the
"LIQE" column of MetaCloak's tables: that is 'liqe_scene_human'. There are no weights here; name a
converted checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.models.liqe import load_liqe, shares
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 1
METRIC = MetricInfo(scope="image", better="higher", range=(1, 5), unit="", reference=None)


@dataclass(frozen=True)
class Config:
    """Which weights."""

    clip: str = ""
    """LIQE's weights as a CLIPModel: a folder or a hub id"""


def instrument(cfg: Config) -> str:
    """Name the network and its weights."""
    return f"LIQE on {load_liqe(cfg.clip)}"


def score(
    images: Images | Photos, reference: Photos | None, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n scores for n pictures (3 x H x W in [0, 1])."""
    return shares(load_liqe(cfg.clip), images).sum((2, 3)) @ torch.arange(1.0, 6)
