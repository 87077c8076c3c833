"""Distance of a picture's face to the mean face of the subject's clean photos; NaN where no face is
found.

ISM of Anti-DreamBooth (arXiv 2303.15433), whose released code takes the cosine of the largest
face's ArcFace embedding with the mean, not normalised, of the clean photos' embeddings, and leaves
pictures without a face out. Departures: a distance instead of a likeness, and the embedder is part
of the result: dlib's descriptor is compared by its Euclidean distance (photos of one person lie
within 0.6), insightface's by 1 - cosine, so ISM = 1 - identity there. Scores of two embedders do
not compare.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cloakwork.models.faces import NO_FACE, load_faces
from cloakwork.types import Images, Photos

VERSION = 1
SCOPE, BETTER, RANGE, UNIT, REFERENCE = "image", "lower", (0, float("inf")), "", "subject"
MISSING = f"'identity' has nothing to compare where {NO_FACE}"


@dataclass(frozen=True)
class Config:
    """Whose eyes."""

    embedder: str = "dlib"
    """detector and embedder: dlib, or the folder of an insightface model pack (non-commercial
    terms)"""


def instrument(cfg: Config) -> str:
    """The embedder and its weights."""
    return str(load_faces(cfg.embedder))


def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """n distances for n pictures (3 x H x W in [0, 1]) against any clean photos of the subject."""
    return load_faces(cfg.embedder).distances(images, reference)
