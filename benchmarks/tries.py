"""What `cloakwork try` says of one photo of each person, and what it costs.

    python benchmarks/tries.py --people FOLDER [--protection pid:tiny:steps=20] [--sizes 512 1024]

FOLDER has a folder for each person. Their first photos are protected and tried. Then a sample photo
is tried at other sizes, for the time alone. Means over the photos, and CPU seconds for each, go
into results/try.json; `python benchmarks/docs.py` makes the table of it. No picture is kept.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cloakwork.environment import surroundings
from cloakwork.files import SAMPLE_PHOTOS, write_json
from cloakwork.models import autoencoders
from cloakwork.workflows.protect import protect
from cloakwork.workflows.try_photos import try_photos
from cloakwork.workflows.try_results import Tried

SAMPLE = SAMPLE_PHOTOS / "coffee.png"


def tried(photos: list[Path], out: Path, **how: Any) -> tuple[Any, float]:
    """What is said of photos once they are protected, and the CPU seconds for each."""
    protect(photos, out, each=True, **how)
    try_photos(out / f"{photos[0].stem}.png", purifiers=())  # loads the encoders
    begun = time.process_time()
    found = try_photos(out)
    return found, (time.process_time() - begun) / len(found)


def at_sizes(sides: list[int], folder: Path) -> list[dict[str, Any]]:
    """CPU seconds of a sample photo at several short sides, pixels."""
    rows = []
    for side in sides:
        photo = Image.open(SAMPLE).convert("RGB")
        scale = side / min(photo.size)
        file = folder / f"{side}.png"
        photo.resize((round(photo.width * scale), round(photo.height * scale))).save(file)
        found, seconds = tried([file], folder / f"safe-{side}", protection="noise")
        rows.append({"short_side": side, "cpu_seconds": round(seconds, 1), "size": _size(found[0])})
        print(rows[-1], flush=True)
    return rows


def _size(photo: Tried) -> int:
    """The size at which encoders saw it, pixels."""
    return photo.shifts[0].size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--people", type=Path, required=True)
    parser.add_argument("--protection", default="pid:tiny:steps=20")
    parser.add_argument("--sizes", type=int, nargs="*", default=[512, 1024])
    parser.add_argument("--out", type=Path, default=Path("results/try.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    people = sorted(folder for folder in args.people.iterdir() if folder.is_dir())
    firsts = [sorted(f for f in folder.rglob("*") if f.is_file())[0] for folder in people]
    with tempfile.TemporaryDirectory() as place:
        out = Path(place)
        found, seconds = tried(firsts, out / "safe", protection=args.protection)
        made = {
            "protection": args.protection,
            "made": found[0].made,
            "photos": len(found),
            "short_sides": [min(Image.open(file).size) for file in firsts],
            "rows": list(found.summary.rows),
            "encoders": {
                name: autoencoders.load(name, "cpu").weights
                for name in dict.fromkeys(row["encoder"] for row in found.summary.rows)
            },
            "visible": [photo.visible for photo in found],
            "noticed": [photo.noticed for photo in found],
            "size": _size(found[0]),
            "cpu_seconds": round(seconds, 1),
            "sizes": [],
            "surroundings": surroundings(torch.device("cpu")),
        }
        write_json(args.out, made)  # what follows takes longer
        write_json(args.out, made | {"sizes": at_sizes(args.sizes, out)})


if __name__ == "__main__":
    main()
