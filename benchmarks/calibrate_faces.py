"""How far apart are faces? Distances of photos to the mean face of their own person and of others;
the threshold between.

Each photo is looked at as it is, as the 128 px square a model sees, and after that square went
through the model's autoencoder and back (posterior mean), which is the best that an attacker with
this model can hope to print. It is compared with the mean embedding of clean photos at their own
size: all other photos of the person, or five of them (another set), as an audit has. The threshold
is where as many of the same person are missed as others are taken for them; photos without a face
count as not found, not as missed. The threshold of "round trip" against "five clean photos" is the
default of the metric `match`.

Run: python benchmarks/calibrate_faces.py --people FOLDER --out results/face_calibration.json
(FOLDER/person/set/*.jpg)
"""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cloakwork.models import loading
from cloakwork.models.faces import Faces, load_faces
from cloakwork.models.ldm import LDM
from cloakwork.photos.photo import load_photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.tensors import as_float


@dataclass(frozen=True)
class Shot:
    """One photo: whose, of which set, its embedding as it is (the reference), and as each view
    shows it."""

    person: str
    group: str
    clean: Tensor | None
    views: dict[str, Tensor | None]


@torch.no_grad()
def shoot(path: Path, faces: Faces, model: LDM) -> Shot:
    photo = as_float(load_photo(path).pixels)
    square = preprocess([photo], model.size)
    views = {
        "as it is": photo,
        f"{model.size} px": square[0],
        "round trip": model.decode(model.encode(square))[0],
    }
    found = dict(zip(views, faces.embed(list(views.values())), strict=True))
    return Shot(path.parent.parent.name, path.parent.name, found["as it is"], found)


def distances(
    shots: list[Shot], view: str, faces: Faces, *, five: bool
) -> tuple[list[float], list[float]]:
    """To one's own person, and to others. Never to a mean that the photo itself is part of."""
    same, different = [], []
    people, groups = sorted({s.person for s in shots}), sorted({s.group for s in shots})
    for shot in shots:
        e = shot.views[view]
        if e is None:
            continue
        for person in people:
            theirs = [
                s for s in shots if s.person == person and s is not shot and s.clean is not None
            ]
            sets = (
                [[s for s in theirs if s.group == g] for g in groups if g != shot.group]
                if five
                else [theirs]
            )
            for members in sets:
                mean = torch.stack([s.clean for s in members if s.clean is not None]).mean(0)
                (same if person == shot.person else different).append(faces.distance(e, mean))
    return same, different


def equal_error(same: np.ndarray, different: np.ndarray) -> float:
    """The middle of the stretch of thresholds at which the two error rates differ least."""
    points = np.unique(np.concatenate([same, different]))
    middles = (points[1:] + points[:-1]) / 2
    gaps = np.array([abs((same > t).mean() - (different <= t).mean()) for t in middles])
    best = middles[gaps == gaps.min()]
    return float((best[0] + best[-1]) / 2)


def summary(values: np.ndarray) -> dict[str, float]:
    quantiles = dict(
        zip(("5 %", "50 %", "95 %"), np.quantile(values, (0.05, 0.5, 0.95)), strict=True)
    )
    spread = {"mean": values.mean(), "lowest": values.min(), **quantiles, "highest": values.max()}
    return {"n": len(values)} | {k: round(float(v), 4) for k, v in spread.items()}


def cell(shots: list[Shot], view: str, faces: Faces, *, five: bool) -> dict:
    same, different = (np.array(d) for d in distances(shots, view, faces, five=five))
    threshold = equal_error(same, different)
    return {
        "view": view,
        "reference": "five clean photos" if five else "all other clean photos",
        "faces_found": round(float(np.mean([s.views[view] is not None for s in shots])), 4),
        "same": summary(same),
        "different": summary(different),
        "threshold": round(threshold, 4),
        "missed": round(float((same > threshold).mean()), 4),
        "mistaken": round(float((different <= threshold).mean()), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--people", type=Path, required=True, help="folder of people, each with folders of photos"
    )
    parser.add_argument("--out", type=Path, default=Path("results/face_calibration.json"))
    parser.add_argument("--model", default="tiny", help="whose autoencoder")
    parser.add_argument(
        "--embedder", default="dlib", help="dlib, or the folder of an insightface model pack"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    faces, model = load_faces(args.embedder), loading.load(args.model, "cpu")
    shots = [shoot(path, faces, model) for path in sorted(args.people.glob("*/*/*.jpg"))]
    cells = [
        cell(shots, view, faces, five=five) for view in shots[0].views for five in (False, True)
    ]
    result = {
        "embedder": str(faces),
        "distance": faces.metric,
        "model": {"name": model.name, "weights": model.weights},
        "photos": len(shots),
        "people": len({s.person for s in shots}),
        "cells": cells,
        "versions": {p: metadata.version(p) for p in ("torch", "dlib-bin", "numpy")}
        | {"python": platform.python_version()},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    for c in cells:
        print(
            f"{c['view']:>10} | {c['reference']:>22} | found {c['faces_found']:.3f} "
            f"| same {c['same']['mean']:.3f} | different {c['different']['mean']:.3f} "
            f"| threshold {c['threshold']:.3f} | errors {c['missed']:.3f} {c['mistaken']:.3f}"
        )


if __name__ == "__main__":
    main()
