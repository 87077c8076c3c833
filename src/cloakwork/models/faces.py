"""Faces in pictures: where they are, how sure the detector is, whose they are.

One small interface over two libraries.

**dlib** (King 2009), the offline default: HOG detector, five-point landmarks, the 128-number
descriptor network (trained so that photos of one person lie within a Euclidean distance of 0.6; LFW
.9938). Boost and CC0 licences. Needs `dlib-bin` and the files of `face-recognition-models` (extra
`face`), or a folder with them named by CLOAKWORK_FACE_MODELS. The package's 68-point landmarks are
not free for commercial use and are never touched; the package itself is found, not imported (it
needs pkg_resources).

**insightface** (RetinaFace or SCRFD detector, ArcFace embeddings), the papers' yardstick: a folder
of ONNX models, such as buffalo_l, that the user downloaded. Its authors give these models for
non-commercial research only. Untested: written against deepinsight/insightface's documented
model_zoo.get_model, without the models at hand.
"""

from __future__ import annotations

import hashlib
import importlib.util
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import Unscored
from cloakwork.files import hash_files
from cloakwork.types import Images, Photos

LANDMARKS, DESCRIPTOR = (
    "shape_predictor_5_face_landmarks.dat",
    "dlib_face_recognition_resnet_model_v1.dat",
)
# pixels: smaller pictures are doubled, for dlib's detector wants faces of 80 px; larger ones shrink
SMALL, LARGE = 256, 1200
GET_DLIB = (
    "Faces need dlib and its models: pip install 'cloakwork[face]', or name a folder with "
    f"{LANDMARKS} and {DESCRIPTOR} in CLOAKWORK_FACE_MODELS."
)
NO_FACE = "no face was found in the picture."


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a picture.

    Attributes:
        area: in pixels of what the detector saw.
        score: the detector's.
        embedding: d numbers.
        box: left, top, right and bottom in pixels of the picture.
    """

    area: float
    score: float
    embedding: Tensor
    box: tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Faces:
    """A detector with an embedder.

    Attributes:
        name: "dlib", or the model folder.
        weights: first 12 hex digits of the sha256 over the model files.
        metric: how far apart two embeddings are: "euclidean", or "cosine" (1 - cosine).
        pair: distance below which two *photos* show one person, as the embedder's authors say; None
            if they do not.
        look: pixels (H x W x 3 uint8, RGB) to faces.
    """

    name: str
    weights: str
    metric: Literal["euclidean", "cosine"]
    pair: float | None
    look: Callable[[np.ndarray], list[Face]]
    _seen: dict[bytes, list[Face]] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return f"{self.name} (weights {self.weights})"

    def find(self, x: Tensor) -> list[Face]:
        """Find all faces of a picture (3 x H x W in [0, 1]), largest first.

        A picture seen before is not searched again.
        """
        pixels = (x * 255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().cpu().numpy()
        key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
        if key not in self._seen:
            self._seen[key] = sorted(self.look(pixels), key=lambda face: -face.area)
        return self._seen[key]

    def embed(self, images: Images | Photos) -> list[Tensor | None]:
        """Embed every picture's largest face; None where there is none."""
        return [faces[0].embedding if (faces := self.find(x)) else None for x in images]

    def mean(self, photos: Photos) -> Tensor:
        """Compute the mean embedding of clean photos; those without a face do not count.

        It is not normalised, as Anti-DreamBooth has it.

        Raises:
            Unscored: no face in any of them.
        """
        return torch.stack(self.known(photos)).mean(0)

    def known(self, photos: Photos) -> list[Tensor]:
        """Embed the clean photos that show a face.

        Raises:
            Unscored: none of them does.
        """
        known = [e for e in self.embed(photos) if e is not None]
        if not known:
            raise Unscored(
                f"{self.name} finds no face in the {len(photos)} clean photos of the subject, "
                "so there is nobody to recognise; "
                "'clip_i' and 'dino' score subjects that are not faces."
            )
        return known

    def distance(self, a: Tensor, b: Tensor) -> float:
        """Compute the distance between two embeddings, or one and a mean."""
        if self.metric == "euclidean":
            return (a - b).norm().item()
        return 1 - F.cosine_similarity(a, b, dim=0).item()

    def distances(self, images: Images | Photos, reference: Photos) -> Tensor:
        """Compute how far each picture's largest face is from the mean of the clean photos' faces.

        Returns:
            A distance for each picture; NaN where no face is found.
        """
        mean = self.mean(reference)
        return torch.tensor(
            [math.nan if e is None else self.distance(e, mean) for e in self.embed(images)]
        )


@cache
def load_faces(name: str = "dlib") -> Faces:
    """Load a detector with an embedder: "dlib", or the folder of an insightface model pack.

    Raises:
        Unscored: the library or its models are not here; the sentence says how to get them.
    """
    return _dlib(name) if name == "dlib" else _insightface(name)


def resized(pixels: np.ndarray) -> np.ndarray:
    """Resize a picture (H x W x 3, uint8) to what dlib is shown.

    Short sides under 256 pixels are doubled until they are not; long sides over 1200 are brought
    to 1200.

    >>> resized(np.zeros((100, 150, 3), np.uint8)).shape
    (400, 600, 3)
    """
    height, width = pixels.shape[:2]
    k = min(
        2.0 ** max(0, math.ceil(math.log2(SMALL / min(height, width)))), LARGE / max(height, width)
    )
    if k == 1:
        return pixels
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    x = F.interpolate(
        x, [max(1, round(k * height)), max(1, round(k * width))], mode="bicubic", antialias=k < 1
    )
    return x[0].round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()


def _dlib_models() -> Path:
    if named := os.environ.get("CLOAKWORK_FACE_MODELS"):
        folder = Path(named).expanduser()
    else:
        # found without being imported: the package's own __init__ fails on current setuptools
        spec = importlib.util.find_spec("face_recognition_models")
        folder = Path((spec.submodule_search_locations or ["."])[0], "models") if spec else None
    if folder is None or not all((folder / file).is_file() for file in (LANDMARKS, DESCRIPTOR)):
        raise Unscored(GET_DLIB)
    return folder


def _dlib(name: str) -> Faces:
    folder = _dlib_models()
    try:
        import dlib  # type: ignore[import-not-found]
    except ImportError:
        raise Unscored(GET_DLIB) from None
    lib: Any = dlib  # a compiled module without types
    detector = lib.get_frontal_face_detector()
    files = [folder / LANDMARKS, folder / DESCRIPTOR]
    landmarks, descriptor = (
        lib.shape_predictor(str(files[0])),
        lib.face_recognition_model_v1(str(files[1])),
    )

    def look(pixels: np.ndarray) -> list[Face]:
        seen = resized(pixels)
        k = seen.shape[0] / pixels.shape[0]
        boxes, scores, _ = detector.run(seen, 0, 0.0)
        vectors = [descriptor.compute_face_descriptor(seen, landmarks(seen, box)) for box in boxes]
        places = [(b.left() / k, b.top() / k, b.right() / k, b.bottom() / k) for b in boxes]
        return [
            Face(b.area(), s, torch.tensor(list(v)), place)
            for b, s, v, place in zip(boxes, scores, vectors, places, strict=True)
        ]

    return Faces(name, hash_files(files), "euclidean", 0.6, look)


def _insightface(name: str) -> Faces:
    files = sorted(Path(name).expanduser().glob("*.onnx"))
    if not files:
        raise Unscored(
            f"The face models '{name}' are neither 'dlib' nor a folder with insightface's ONNX "
            "files (such as buffalo_l)."
        )
    try:
        from insightface.app.common import Face as Found  # type: ignore[import-not-found]
        from insightface.model_zoo import get_model  # type: ignore[import-not-found]
    except ImportError:
        raise Unscored(
            "The face models of insightface need its code: pip install insightface onnxruntime."
        ) from None
    models = [get_model(str(file), providers=["CPUExecutionProvider"]) for file in files]
    parts = _ready(name, [model for model in models if model is not None])

    def look(pixels: np.ndarray) -> list[Face]:
        pixels = np.ascontiguousarray(pixels[..., ::-1])  # it reads BGR
        boxes, points = parts["detection"].detect(pixels, max_num=0)
        vectors = [
            parts["recognition"].get(pixels, Found(bbox=b[:4], kps=k))
            for b, k in zip(boxes, points, strict=True)
        ]
        faces = []
        for box, vector in zip(boxes, vectors, strict=True):
            left, top, right, bottom, score = map(float, box[:5])
            area = float((box[2] - box[0]) * (box[3] - box[1]))
            faces.append(Face(area, score, torch.from_numpy(vector), (left, top, right, bottom)))
        return faces

    return Faces(name, hash_files(files), "cosine", None, look)


def _ready(name: str, models: list[Any]) -> dict[str, Any]:
    """Return the models of an insightface pack by their tasks, ready to be asked.

    Raises:
        Unscored: there is none that finds faces, or none that tells them apart.
    """
    parts = {model.taskname: model for model in reversed(models)}
    if not {"detection", "recognition"} <= set(parts):
        raise Unscored(
            f"The folder '{name}' has no detection or no recognition model among its ONNX files; "
            "take a whole pack."
        )
    parts["detection"].prepare(-1, input_size=(640, 640), det_thresh=0.5)
    parts["recognition"].prepare(-1)
    return parts
