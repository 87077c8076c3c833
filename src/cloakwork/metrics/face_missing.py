"""Whether no face is found in a picture, 1 or 0; the mean is FDFR, the detection failure rate.

Anti-DreamBooth (arXiv 2303.15433), there with RetinaFace. Departure: the detector is part of the
result; dlib's HOG detector sees upright, nearly frontal faces, so the rate on clean photos belongs
beside every other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.models.faces import load_faces
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 1
METRIC = MetricInfo(scope="image", better="lower", range=(0, 1), unit="share", reference=None)


@dataclass(frozen=True)
class Config:
    """Which detector."""

    embedder: str = "dlib"
    """detector: dlib, or the folder of an insightface model pack (non-commercial terms)"""


def instrument(cfg: Config) -> str:
    """Name the detector and its weights."""
    return str(load_faces(cfg.embedder))


def score(
    images: Images | Photos, reference: Photos | None, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n ones and zeros for n pictures (3 x H x W in [0, 1])."""
    faces = load_faces(cfg.embedder)
    return torch.tensor([float(not faces.find(x)) for x in images])
