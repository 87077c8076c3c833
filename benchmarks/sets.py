"""What a photo costs as one of many: CPU seconds a photo of `protect`, for 1 to 60 small photos, as
a set each and as one set, and the peak memory of the process.

    python benchmarks/sets.py [--protection pid ...] [--photos 1 5 20 60]

Photos are crops of 128 pixels of the sample photos. A protection runs by few steps in a process of
its own, on `tiny` with one thread; imports, the model and a first photo are not counted. Into
results/sets.json, and the table in docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import tables
import torch
from PIL import Image

from cloakwork.environment import peak_memory_mb, surroundings
from cloakwork.files import SAMPLE_PHOTOS, write_json
from cloakwork.workflows.protect import protect

SIDE = 128
FEW: dict[str, dict[str, int]] = {
    "pid": {"steps": 3},
    "photoguard": {"steps": 3},
    "aspl": {"outer": 1, "clean_steps": 1, "adv_steps": 1, "pgd_steps": 3, "class_images": 0},
}
WAYS = ("sets of one", "one set")


def crops(folder: Path, n: int) -> list[Path]:
    """Write n crops of the sample photos, no two alike."""
    rng, files = np.random.default_rng(0), []
    whole = [Image.open(f).convert("RGB") for f in sorted(SAMPLE_PHOTOS.glob("*.png"))]
    for k in range(n):
        photo = whole[k % len(whole)]
        left, top = (int(rng.integers(0, side - SIDE + 1)) for side in photo.size)
        files.append(folder / f"{k:03}.png")
        photo.crop((left, top, left + SIDE, top + SIDE)).save(files[-1])
    return files


def measured(protection: str, numbers: list[int]) -> list[dict[str, Any]]:
    """CPU seconds a photo, fewer photos first."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = crops(folder, max(numbers) + 1)

        def seconds(some: list[Path], way: str, out: str) -> float:
            begun = time.process_time()
            each = way == WAYS[0]
            how: dict[str, Any] = {"protection": protection, **FEW[protection]}
            protect(some, folder / out, each=each, one_set=not each, **how)
            return time.process_time() - begun

        seconds(files[-1:], WAYS[0], "first")
        for n in sorted(numbers):
            for way in WAYS:
                taken = seconds(files[:n], way, f"{way} {n}")
                cell = {"protection": protection, "photos": n, "way": way}
                rows.append(cell | {"a photo": taken / n, "peak_mb": peak_memory_mb()})
    return rows


def table(rows: list[dict[str, Any]]) -> list[str]:
    """A Markdown table: seconds a photo by the number of photos."""
    numbers = sorted({row["photos"] for row in rows})
    heads = ["protection", "photos as", *map(str, numbers), "peak MB"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for of in dict.fromkeys((row["protection"], row["way"]) for row in rows):
        mine = {row["photos"]: row for row in rows if (row["protection"], row["way"]) == of}
        cells = [f"{mine[n]['a photo']:.2f}" if n in mine else "-" for n in numbers]
        peak = max(row["peak_mb"] for row in mine.values())
        lines.append(f"| {' | '.join([*of, *cells, f'{peak:.0f}'])} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--protection", nargs="*", default=list(FEW), choices=list(FEW))
    parser.add_argument("--photos", nargs="*", type=int, default=[1, 5, 20, 60])
    parser.add_argument("--out", type=Path, default=Path("results/sets.json"))
    parser.add_argument("--doc", type=Path, default=Path("docs/scale.md"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measured(args.protection[0], args.photos)))
        return
    for name in args.protection:
        numbers = [str(n) for n in args.photos]
        command = [sys.executable, __file__, "--here", "--protection", name, "--photos", *numbers]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(done.stdout.splitlines()[-1])
        kept = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
        rows = [row for row in kept if row["protection"] != name] + found
        told = {"side": SIDE, "settings": FEW, "surroundings": surroundings(torch.device("cpu"))}
        write_json(args.out, {"rows": rows, **told})
        print(*table(found), sep="\n", flush=True)
        tables.write(args.doc, "sets", table(rows))


if __name__ == "__main__":
    main()
