"""Whether a picture shows the subject, 1 or 0: its face is near enough to the mean clean face.

The mean over pictures is the match rate. A picture without a face is no match: the attacker did not
get the person. Near enough is within a calibrated distance. The threshold for dlib is where same-
and different-person errors are equal for photos that went through the embedded model's autoencoder
at 128 px (results/face_calibration.json, made by benchmarks/calibrate_faces.py). Other embedders
have none of their own here.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from cloakwork.errors import Unscored
from cloakwork.models.faces import load_faces
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 1
METRIC = MetricInfo(scope="image", better="higher", range=(0, 1), unit="share", reference="subject")
THRESHOLDS = {"dlib": 0.619}


@dataclass(frozen=True)
class Config:
    """Which embedder, and how strict."""

    embedder: str = "dlib"
    """detector and embedder: dlib, or the folder of an insightface model pack (non-commercial
    terms)"""
    threshold: float | None = None
    """largest distance that counts as the subject (none: the calibrated one)"""


def instrument(cfg: Config) -> str:
    """Name the embedder, its weights and the threshold."""
    return f"{load_faces(cfg.embedder)}, threshold {_threshold(cfg)}"


def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n zeros and ones for n pictures (3 x H x W in [0, 1]) and clean photos of the subject.

    Raises:
        Unscored: no threshold is given and the embedder has none; no clean photo shows a face.
    """
    # NaN, which stands for no face, is below nothing
    return (load_faces(cfg.embedder).distances(images, reference) <= _threshold(cfg)).float()


def _threshold(cfg: Config) -> float:
    """Return the largest distance that counts as the subject."""
    threshold = THRESHOLDS.get(cfg.embedder) if cfg.threshold is None else cfg.threshold
    if threshold is None:
        raise Unscored(
            f"'match' has no calibrated threshold for the embedder '{cfg.embedder}'; give one as "
            "its field 'threshold'."
        )
    return threshold
