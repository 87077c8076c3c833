"""Distance of a picture's face to the mean face of the subject's clean photos; NaN without a face.

ISM of Anti-DreamBooth (arXiv 2303.15433), whose released code takes the cosine of the largest
face's ArcFace embedding with the mean, not normalised, of the clean photos' embeddings, and leaves
pictures without a face out. Departures: a distance instead of a likeness, and the embedder is part
of the result: dlib's descriptor is compared by its Euclidean distance (photos of one person lie
within 0.6), insightface's by 1 - cosine, so ISM = 1 - identity there. Scores of two embedders do
not compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from cloakwork.models.faces import NO_FACE, load_faces
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 1
METRIC = MetricInfo(
    scope="image", better="lower", range=(0, math.inf), unit="", reference="subject"
)
MISSING = f"'identity' has nothing to compare where {NO_FACE}"


@dataclass(frozen=True)
class Config:
    """Which embedder."""

    embedder: str = "dlib"
    """detector and embedder: dlib, or the folder of an insightface model pack (non-commercial
    terms)"""


def instrument(cfg: Config) -> str:
    """Name the embedder and its weights."""
    return str(load_faces(cfg.embedder))


def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n distances of n pictures (3 x H x W in [0, 1]) to any clean photos of the subject."""
    return load_faces(cfg.embedder).distances(images, reference)
