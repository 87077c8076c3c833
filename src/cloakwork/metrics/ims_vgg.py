"""MetaCloak's IMS_VGG: 1 - mean distance to the clean faces that are near, or -1 when none is.

MetaCloak (arXiv 2311.13127), released code: deepface's `find` over VGG-Face returns the clean faces
within a cosine distance of 0.40; the score is 1 - their mean distance. So a score lies in [0.6, 1]
or is -1, and a mean over pictures is mostly a match rate in disguise: 'identity' and 'match' say
the same openly. Kept for comparison with that paper's tables.

Departures: VGG-Face's weights are not to be had here, so the embedder is any of this package's and
only the name is the paper's; numbers do not compare with VGG-Face's. The limit is the embedder's
own for two photos (dlib: a Euclidean distance of 0.6).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.errors import Unscored
from cloakwork.models.faces import load_faces
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 1
METRIC = MetricInfo(scope="image", better="higher", range=(-1, 1), unit="", reference="subject")


@dataclass(frozen=True)
class Config:
    """Which embedder, and how strict."""

    embedder: str = "dlib"
    """detector and embedder: dlib, or the folder of an insightface model pack (non-commercial
    terms)"""
    threshold: float | None = None
    """largest distance to a clean face that counts (none: the embedder's own; VGG-Face's cosine has
    0.40)"""


def instrument(cfg: Config) -> str:
    """Name the embedder and its weights."""
    return str(load_faces(cfg.embedder))


def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n scores for n pictures (3 x H x W in [0, 1]) and any clean photos of the subject.

    Raises:
        Unscored: no threshold is given and the embedder has none; no clean photo shows a face.
    """
    faces = load_faces(cfg.embedder)
    limit = faces.pair if cfg.threshold is None else cfg.threshold
    if limit is None:
        raise Unscored(
            f"The embedder '{cfg.embedder}' has no limit of its own for 'ims_vgg'; give one as its "
            "field 'threshold'."
        )
    known, scores = faces.known(reference), []
    for e in faces.embed(images):
        near = [] if e is None else [d for k in known if (d := faces.distance(e, k)) <= limit]
        scores.append(1 - sum(near) / len(near) if near else -1.0)
    return torch.tensor(scores)
