"""How surely the subject's kind is seen in a picture: MetaCloak's Subject Detection Score (SDS).

MetaCloak (arXiv 2311.13127), released code: for faces the mean RetinaFace confidence of those
found, 0 when there is none; for other subjects C, CLIP ViT-B/32's softmax of "a picture of C" less
that of "a picture of non-C", in [-1, 1].

Departures: the detector is part of the result. dlib's score is a margin above its detection
threshold, not a probability: 0 is the threshold itself, clear frontal faces reach about 2.5. The
softmax is at CLIP's own learned scale (100 for the published models).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.models.clip import load_clip
from cloakwork.models.faces import load_faces
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 2  # 1 rounded the long side of a resized photo, where CLIP's processor truncates
METRIC = MetricInfo(scope="image", better="higher", range=(-1, math.inf), unit="", reference=None)


@dataclass(frozen=True)
class Config:
    """What is looked for, and by whom."""

    subject: str = "face"
    """kind of the subject; a face is looked for by the detector, anything else by CLIP"""
    embedder: str = "dlib"
    """detector of faces: dlib, or the folder of an insightface model pack (non-commercial terms)"""
    clip: str = "tiny"
    """CLIP for other subjects: tiny, a folder or a hub id"""


def instrument(cfg: Config) -> str:
    """Name the network that looks, and its weights."""
    return str(load_faces(cfg.embedder) if cfg.subject == "face" else load_clip(cfg.clip))


def score(
    images: Images | Photos, reference: Photos | None, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n scores for n pictures (3 x H x W in [0, 1])."""
    if cfg.subject != "face":
        shares = load_clip(cfg.clip).choose(
            images, [f"a picture of {cfg.subject}", f"a picture of non-{cfg.subject}"]
        )
        return shares[:, 0] - shares[:, 1]
    found = [load_faces(cfg.embedder).find(x) for x in images]
    return torch.tensor(
        [sum(f.score for f in faces) / len(faces) if faces else 0.0 for faces in found]
    )
