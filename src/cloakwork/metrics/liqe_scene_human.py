"""Whether LIQE takes "human" for a picture's scene, 1 or 0; the mean over pictures is the "LIQE"
column of MetaCloak's tables.

Zhang et al., arXiv 2303.14968; see models/liqe.py for what was checked and the departures. There
are no weights here; name a converted checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cloakwork.models.liqe import SCENES, load_liqe, shares
from cloakwork.types import Images, Photos

VERSION = 1
SCOPE, BETTER, RANGE, UNIT, REFERENCE = "image", "higher", (0, 1), "share", None


@dataclass(frozen=True)
class Config:
    """Which weights."""

    clip: str = ""
    """LIQE's weights as a CLIPModel: a folder or a hub id"""


def instrument(cfg: Config) -> str:
    """The network and its weights."""
    return f"LIQE on {load_liqe(cfg.clip)}"


def score(
    images: Images | Photos, reference: Photos | None, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """n zeros and ones for n pictures (3 x H x W in [0, 1])."""
    scenes = shares(load_liqe(cfg.clip), images).sum((1, 3))
    return (scenes.argmax(1) == SCENES.index("human")).float()
