"""How far are latents moved by what was made against small encoders, or against others altogether?

    python benchmarks/displacement.py --teachers TEACHERS [--photos PHOTOS] [--sizes 128 256 512]
    [--most 4] [--protection pid:tiny:steps=100]

TEACHERS has a folder for each family (sd, sd3, flux2: taesd, taesd3, taef2), as their author
publishes them. Square photos of each size are protected against each teacher, against each family's
small version that comes with the package, and against all of these at once; random signs of the
same budget are the control. Then every teacher looks at them as a loader shows them: resized to
three quarters of their size, as they are, and enlarged by a quarter. Root mean square of the change
of the latent, in shares of the clean latent's spread; LPIPS beside it. Into
results/displacement.json, which it adds to; `python benchmarks/docs.py` makes the table of it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from cloakwork.environment import surroundings
from cloakwork.evaluation.displacement import displacement
from cloakwork.files import SAMPLE_PHOTOS, write_json
from cloakwork.metrics import lpips
from cloakwork.models import autoencoders, latent_spaces
from cloakwork.models.autoencoders import Autoencoder
from cloakwork.photos.folders import photo_files
from cloakwork.photos.photo import load_photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.tensors import as_float, to_bytes
from cloakwork.types import Photos
from cloakwork.workflows.images import protect_images

TEACHERS = {"sd": "taesd", "sd3": "taesd3", "flux2": "taef2"}
ZOOMS = (0.75, 1.0, 1.25)  # of a loader's picture against the photo
ALL = "all small versions"
Row = dict[str, Any]


def squares(folder: Path, size: int, most: int) -> Photos:
    """Photos that have as much to show, cut and resized to size x size, at 8 bits."""
    photos = [as_float(load_photo(file).pixels) for file in photo_files(folder)]
    large = [p for p in photos if min(p.shape[-2:]) >= size][:most]
    return [as_float(to_bytes(x)) for x in preprocess(large, size)]


def surrogates(teachers: dict[str, Path]) -> dict[str, list[str]]:
    """What photos are made against, by the name of its row."""
    small = {name: f"{name}:tiny" for name in teachers if latent_spaces.embedded(f"{name}:tiny")}
    return (
        {f"{name}: teacher": [str(folder)] for name, folder in teachers.items()}
        | {f"{name}: small version": [word] for name, word in small.items()}
        | ({ALL: list(small.values())} if len(small) > 1 else {})
    )


def weights_of(names: list[str]) -> list[str]:
    return [autoencoders.load(name, "cpu").weights for name in names]


def measure(
    clean: Photos, changed: Photos, size: int, teachers: dict[str, Autoencoder]
) -> dict[str, Any]:
    """Displacement under every teacher at each size that a loader may make of it, and LPIPS."""
    seen_at = [round(size * zoom) // 32 * 32 for zoom in ZOOMS]
    return {
        "lpips": lpips.score(changed, clean, None, lpips.Config()).tolist(),
        "moved": {
            name: {str(at): displacement(teacher, clean, {"": changed}, at)[""] for at in seen_at}
            for name, teacher in teachers.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--photos", type=Path, default=SAMPLE_PHOTOS)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--most", type=int, default=4, help="photos of each size")
    parser.add_argument("--protection", default="pid:tiny")
    parser.add_argument("--out", type=Path, default=Path("results/displacement.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    folders = {name: args.teachers / folder for name, folder in TEACHERS.items()}
    teachers = {name: autoencoders.load(str(folder), "cpu") for name, folder in folders.items()}
    made_on: dict[str, list[str]] = {"noise": []} | surrogates(folders)
    rows: list[Row] = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    for size in args.sizes:
        clean = squares(args.photos, size, args.most)
        for name, names in made_on.items():
            key = {
                "size": size,
                "made_on": name,
                "protection": args.protection if names else "noise",
                "weights": weights_of(names),
                "photos": len(clean),
            }
            if any(all(row[k] == v for k, v in key.items()) for row in rows):
                continue
            print(f"{size} px, {name}", flush=True)
            how: dict[str, Any] = {"surrogates": names} if names else {"budget": 11.0}
            changed = protect_images(clean, key["protection"], device="cpu", **how)
            rows = [r for r in rows if (r["size"], r["made_on"]) != (size, name)]
            rows.append(key | measure(clean, changed, size, teachers))
            write_json(
                args.out,
                {
                    "rows": sorted(
                        rows, key=lambda r: (r["size"], list(made_on).index(r["made_on"]))
                    ),
                    "teachers": {n: t.weights for n, t in teachers.items()},
                    "surroundings": surroundings(torch.device("cpu")),
                },
            )


if __name__ == "__main__":
    main()
