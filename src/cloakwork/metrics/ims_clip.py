"""MetaCloak's IMS_CLIP: as 'clip_i', but with the mean of embeddings that are not normalised.

MetaCloak (arXiv 2311.13127), released code, there with CLIP ViT-B/32. The mean is over the clean
photos' embeddings as CLIP gives them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from cloakwork.models.clip import load_clip
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 2  # 1 rounded the long side of a resized photo, where CLIP's processor truncates
METRIC = MetricInfo(scope="image", better="higher", range=(-1, 1), unit="", reference="subject")


@dataclass(frozen=True)
class Config:
    """Which CLIP."""

    clip: str = "tiny"
    """CLIP: tiny, a folder or a hub id"""


def instrument(cfg: Config) -> str:
    """Name the CLIP and its weights."""
    return str(load_clip(cfg.clip))


def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n cosines for n pictures (3 x H x W in [0, 1]) and any clean photos of the subject."""
    clip = load_clip(cfg.clip)
    mean = clip.pictures(reference).mean(0)
    return F.cosine_similarity(clip.pictures(images), mean[None])
