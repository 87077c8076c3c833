"""CLIP-IQAC: CLIP's share of "a good photo of C" for a picture less that of "a bad photo of C".

Picture quality for a class C, after MetaCloak (arXiv 2311.13127), released code: softmax over the
two texts with CLIP ViT-B/32; the difference lies in [-1, 1].
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cloakwork.models.clip import load_clip
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 2  # 1 rounded the long side of a resized photo, where CLIP's processor truncates
METRIC = MetricInfo(scope="image", better="higher", range=(-1, 1), unit="", reference=None)


@dataclass(frozen=True)
class Config:
    """Which CLIP, and what it is asked about."""

    clip: str = "tiny"
    """CLIP: tiny, a folder or a hub id"""
    subject: str = "face"
    """what the pictures are to show"""


def instrument(cfg: Config) -> str:
    """Name the CLIP and its weights."""
    return str(load_clip(cfg.clip))


def score(
    images: Images | Photos, reference: Photos | None, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n scores for n pictures (3 x H x W in [0, 1])."""
    shares = load_clip(cfg.clip).choose(
        images, [f"a good photo of {cfg.subject}", f"a bad photo of {cfg.subject}"]
    )
    return shares[:, 0] - shares[:, 1]
