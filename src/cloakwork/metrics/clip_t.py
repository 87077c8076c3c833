"""CLIP-T: cosine of a picture's CLIP embedding with that of the text it was asked for.

After DreamBooth (arXiv 2208.12242). CLIP never saw the attacker's token, so it is left out of the
text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import Unscored
from cloakwork.models.clip import load_clip
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 2  # 1 rounded the long side of a resized photo, where CLIP's processor truncates
METRIC = MetricInfo(scope="image", better="higher", range=(-1, 1), unit="", reference=None)


@dataclass(frozen=True)
class Config:
    """Which CLIP, and what it is not to read."""

    clip: str = "tiny"
    """CLIP: tiny, a folder or a hub id"""
    leave_out: str = "sks"
    """the attacker's token, left out of the prompts (empty: nothing is)"""


def instrument(cfg: Config) -> str:
    """Name the CLIP and its weights."""
    return str(load_clip(cfg.clip))


def score(
    images: Images | Photos, reference: Photos | None, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n cosines for n pictures (3 x H x W in [0, 1]) and their n prompts.

    Raises:
        Unscored: there are no prompts.
    """
    if prompts is None:
        raise Unscored(
            "'clip_t' compares pictures with the prompts they were asked for, and none were given."
        )
    clip = load_clip(cfg.clip)
    return F.cosine_similarity(
        clip.pictures(images), clip.texts([without(p, cfg.leave_out) for p in prompts])
    )


def without(prompt: str, token: str) -> str:
    """Leave a word out of a prompt, also where it stands in <brackets>.

    >>> without("a photo of <sks> person", "sks")
    'a photo of person'
    """
    if not token:
        return prompt
    return " ".join(re.sub(rf"(?<!\w)<?{re.escape(token)}>?(?!\w)", " ", prompt).split())
