"""How far do protections move what identity adapters look at: a face's and CLIP's embedding?

    python benchmarks/zero_shot.py --people PEOPLE --store STORE [--protections pid aspl]

Zero-shot editors and adapters (IP-Adapter, InstantID, PhotoMaker) train nothing. They take one
photo and see it through a face embedder, CLIP, or both. So what they get of a protected photo rests
on how far these embeddings move. Here they are dlib's (Euclidean; two photos of one person lie
within .6) and the embedded small CLIP's (1 - cosine), of each protected photo against its own
original; random signs of the same budget are the control. Two rows give the scale: other photos of
the same person, and photos of the next. No such adapter is run. Into results/zero_shot.json; photos
that the recipe `tiny` has protected come from its store. `python benchmarks/docs.py` makes the
table of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.benchmark.grids import Table, lines, people
from cloakwork.environment import surroundings
from cloakwork.evaluation import compute
from cloakwork.evaluation.statistics import Scores, difference, estimate
from cloakwork.evaluation.steps import Workspace
from cloakwork.files import write_json
from cloakwork.models.clip import load_clip
from cloakwork.models.faces import load_faces
from cloakwork.types import Photos

# distance of each photo's embedding from that of its partner; NaN where no face is found
Distances = Callable[[Photos, Photos], list[float]]
SAME, OTHER = "another photo of the person", "a photo of another person"


def by_face(photos: Photos, others: Photos) -> list[float]:
    """Euclidean distances of dlib's descriptors."""
    faces = load_faces("dlib")

    def apart(a: Tensor | None, b: Tensor | None) -> float:
        return float("nan") if a is None or b is None else faces.distance(a, b)

    return [apart(a, b) for a, b in zip(faces.embed(photos), faces.embed(others), strict=True)]


def by_clip(photos: Photos, others: Photos) -> list[float]:
    """1 - cosine of the embedded CLIP's pictures."""
    clip = load_clip("tiny")
    return (1 - F.cosine_similarity(clip.pictures(photos), clip.pictures(others))).tolist()


EMBEDDERS: dict[str, Distances] = {"face": by_face, "clip": by_clip}


def rolled(photos: Photos) -> Photos:
    """The photos one place on, so that each has another as its partner."""
    return [*photos[1:], photos[0]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True, help="of the recipe tiny")
    parser.add_argument("--protections", nargs="*", default=["pid", "aspl"])
    parser.add_argument("--out", type=Path, default=Path("results/zero_shot.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    workspace, everybody = Workspace(args.store, "cpu"), people(args.people)
    clean = {s.name: compute.photos(s.clean, workspace) for s in everybody}
    partners: dict[str, dict[str, Photos]] = {
        SAME: {name: rolled(photos) for name, photos in clean.items()},
        OTHER: dict(zip(clean, rolled(list(clean.values())), strict=True)),  # type: ignore[arg-type]
    }
    for line in lines(Table("all", ("noise", *args.protections), (), everybody)):
        if line.protection in ("noise", *args.protections):
            partners[line.protection] = {
                subject.name: compute.photos(photos, workspace)
                for subject, photos in line.photo_sets()
            }
            print(line.protection, flush=True)
    moved: dict[str, dict[str, Scores]] = {
        name: {
            which: {who: {0: far(clean[who], others[who])} for who in clean}
            for which, far in EMBEDDERS.items()
        }
        for name, others in partners.items()
    }
    rows = [
        {
            "partner": name,
            "moved": by,
            "mean": {which: asdict(estimate(x)) for which, x in by.items()},
            "beyond_noise": {
                which: asdict(difference(x, moved["noise"][which])) for which, x in by.items()
            }
            if name not in (SAME, OTHER, "noise")
            else {},
        }
        for name, by in moved.items()
    ]
    write_json(args.out, {"rows": rows, "surroundings": surroundings(workspace.torch_device)})


if __name__ == "__main__":
    main()
