"""Whether LIQE takes "human" for a picture's scene, 1 or 0; the mean is MetaCloak's "LIQE" column.

Zhang et al., arXiv 2303.14968; see models/liqe.py for what was checked and the departures. There
are no weights here; name a converted checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cloakwork.models.liqe import SCENES, load_liqe, shares
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 1
METRIC = MetricInfo(scope="image", better="higher", range=(0, 1), unit="share", reference=None)


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
    """Return n zeros and ones for n pictures (3 x H x W in [0, 1])."""
    scenes = shares(load_liqe(cfg.clip), images).sum((1, 3))
    return (scenes.argmax(1) == SCENES.index("human")).float()
