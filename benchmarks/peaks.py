"""Peak memory and CPU seconds of protections on few and large photos, by few steps: five portraits,
and one photo of 512 pixels, of 12 and of 24 megapixels.

    python benchmarks/peaks.py --photos FOLDER [--as before] [--protection pid ...] [--size 512 ...]
        [--turns 3]

FOLDER holds the five portraits; large photos are one sample photo enlarged. Each cell is a process
of its own on `tiny` with one thread. Imports and the model count for the memory, not for the
seconds. The same run differs by a tenth from time to time; of several turns the medians are kept.
`--as` names the column, so that with PYTHONPATH at a checkout of an earlier commit another
one of the same file is filled. Into results/peaks.json, and the table in docs/reliability.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import tables
import torch
from PIL import Image

from cloakwork import registry
from cloakwork.files import SAMPLE_PHOTOS, write_json
from cloakwork.models import loading
from cloakwork.workflows.protect import protect

SIZES = {"512": (512, 512), "12 MP": (4000, 3000), "24 MP": (6000, 4000)}
FIVE = "five"
FEW = {
    "outer": 1,
    "clean_steps": 1,
    "adv_steps": 1,
    "pgd_steps": 3,
    "class_images": 0,
}
STEPS = {"pid": {"steps": 3}, "cloakwork": FEW | {"steps": 1}, "aspl": FEW}


def measured(photos: str, protection: str) -> dict[str, float]:
    """CPU seconds and peak memory, MB, of this process."""
    torch.set_num_threads(1)
    tiny = registry.load("protections", protection).PRESETS["tiny"]
    how: dict[str, Any] = {k: n for k, n in STEPS[protection].items() if hasattr(tiny, k)}
    loading.load("tiny", "cpu")
    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        protect([photos], Path(folder) / "out", protection=protection, **how)
        taken = time.process_time() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu": round(taken, 2), "peak_mb": round(peak)}


def photo(size: tuple[int, int], folder: Path) -> Path:
    """A folder with one JPEG in it, of so many pixels in width and height."""
    folder.mkdir(exist_ok=True)
    sample = Image.open(sorted(SAMPLE_PHOTOS.glob("*.png"))[0]).convert("RGB")
    sample.resize(size, Image.Resampling.BICUBIC).save(folder / "a.jpg", quality=92)
    return folder


def run(command: list[str]) -> dict[str, float]:
    """What a process of its own measures."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def table(found: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """A Markdown table; where both columns were filled, before and now."""
    heads = ["photos", "protection", "peak MB, before", "now", "CPU s, before", "now"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for cell, columns in found.items():
        numbers = [
            f"{columns[column][what]:,.{digits}f}" if column in columns else "-"
            for what, digits in (("peak_mb", 0), ("cpu", 1))
            for column in ("before", "now")
        ]
        lines.append(f"| {' | '.join([*cell.split(', '), *numbers])} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--as", dest="column", default="now", choices=("before", "now"))
    parser.add_argument("--protection", nargs="*", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--size", nargs="*", default=[FIVE, *SIZES], choices=[FIVE, *SIZES])
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("results/peaks.json"))
    parser.add_argument("--doc", type=Path, default=Path("docs/reliability.md"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measured(str(args.photos), args.protection[0])))
        return
    for size in args.size:
        for name in args.protection:
            with tempfile.TemporaryDirectory() as folder:
                photos = args.photos if size == FIVE else photo(SIZES[size], Path(folder))
                command = [sys.executable, __file__, "--here", "--photos", str(photos)]
                command += ["--protection", name]
                runs = [run(command) for _ in range(args.turns)]
            found = json.loads(args.out.read_text()) if args.out.exists() else {}
            cell = found.setdefault(f"{size}, {name}", {})
            cell[args.column] = {what: median(one[what] for one in runs) for what in runs[0]}
            cell[args.column]["turns"] = args.turns
            write_json(args.out, found)
            print(size, name, cell, flush=True)
            tables.write(args.doc, "peaks", table(found))


if __name__ == "__main__":
    main()
