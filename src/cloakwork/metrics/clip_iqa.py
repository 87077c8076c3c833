"""CLIP-IQA: CLIP's share of "Good photo." against "Bad photo." for a picture, 0 to 1.

Wang et al., "Exploring CLIP for Assessing the Look and Feel of Images", arXiv 2207.12396, as
torchmetrics 1.9 defines it over any CLIPModel: softmax over the two texts (its default is another
network: the paper's ResNet-50 CLIP without position embeddings). MetaCloak's CLIP_Face_IQA is this
with "good face" and "bad face".

Departure: cosines are multiplied by the model's own learned scale; that is 100, torchmetrics'
constant, for the published CLIPs.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cloakwork.models.clip import load_clip
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 2  # 1 rounded the long side of a resized photo, where CLIP's processor truncates
METRIC = MetricInfo(scope="image", better="higher", range=(0, 1), unit="", reference=None)


@dataclass(frozen=True)
class Config:
    """Which CLIP, and what it is asked."""

    clip: str = "tiny"
    """CLIP: tiny, a folder or a hub id"""
    good: str = "Good photo."
    """text of a good picture"""
    bad: str = "Bad photo."
    """text of a bad one"""


def instrument(cfg: Config) -> str:
    """Name the CLIP and its weights."""
    return str(load_clip(cfg.clip))


def score(
    images: Images | Photos, reference: Photos | None, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n scores for n pictures (3 x H x W in [0, 1])."""
    return load_clip(cfg.clip).choose(images, [cfg.good, cfg.bad])[:, 0]
