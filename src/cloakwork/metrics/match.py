"""Whether a picture shows the subject: 1 when its face lies within a calibrated distance of the
mean clean face, else 0.

The mean over pictures is the match rate. A picture without a face is no match: the thief did not
get the person. The threshold for dlib is where same- and different-person errors are equal for
photos that went through the embedded model's autoencoder at 128 px (results/face_calibration.json,
made by benchmarks/calibrate_faces.py). Other embedders have none of their own here.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cloakwork.errors import Unscored
from cloakwork.models.faces import load_faces
from cloakwork.types import Images, Photos

VERSION = 1
SCOPE, BETTER, RANGE, UNIT, REFERENCE = "image", "higher", (0, 1), "share", "subject"
THRESHOLDS = {"dlib": 0.619}


@dataclass(frozen=True)
class Config:
    """Whose eyes, and how strict."""

    embedder: str = "dlib"
    """detector and embedder: dlib, or the folder of an insightface model pack (non-commercial
    terms)"""
    threshold: float | None = None
    """largest distance that counts as the subject (none: the calibrated one)"""


def instrument(cfg: Config) -> str:
    """The embedder, its weights and the threshold."""
    return f"{load_faces(cfg.embedder)}, threshold {_threshold(cfg)}"


def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """n zeros and ones for n pictures (3 x H x W in [0, 1]) against any clean photos of the
    subject.
    """
    # NaN, which stands for no face, is below nothing
    return (load_faces(cfg.embedder).distances(images, reference) <= _threshold(cfg)).float()


def _threshold(cfg: Config) -> float:
    threshold = THRESHOLDS.get(cfg.embedder) if cfg.threshold is None else cfg.threshold
    if threshold is None:
        raise Unscored(
            f"'match' has no calibrated threshold for the embedder '{cfg.embedder}'; give one as its field 'threshold'."
        )
    return threshold
