"""What each protection costs on a set of photos: counts of every preset, CPU seconds and peak
memory of those named.

Run: python benchmarks/cost.py --photos FOLDER [--protection aspl ...] [--preset tiny ...]
[--threads 2]
     python benchmarks/cost.py stages ...      (one photo, stage by stage: see stages.py)

Counts come from a dry run for as many photos, times from a process of its own each. Everything goes
into the package's protections/costs.json, which `cloakwork protect --list-presets` shows; cells
that are not asked for stay as they are.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import stages
import tables

from cloakwork import registry
from cloakwork.files import COSTS, write_json
from cloakwork.photos.sets import load_sets
from cloakwork.workflows import dry_run

ABOUT = (
    "Counted for {} photos and one surrogate; CPU seconds and memory were measured on tiny, "
    "where a number stands."
)
CHILD = Path(__file__).with_name("timed.py")


def cost(photos: Path, protection: str, preset: str, threads: int) -> dict[str, object]:
    """One protection in a fresh process; class pictures come from an empty cache, so their making
    counts."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            str(CHILD),
            str(photos),
            folder + "/out",
            protection,
            preset,
            str(threads),
        ]
        begun = time.monotonic()
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            env={"CLOAKWORK_CACHE": folder + "/cache", "PATH": ""},
        )
        wall = time.monotonic() - begun
        timings = json.loads((Path(folder) / "out/.cloakwork/timings.json").read_text())
    found = json.loads(done.stdout.splitlines()[-1])
    return found | {
        "threads": threads,
        "wall_seconds": round(wall, 1),
        "peak_memory_mb": timings["peak_memory_mb"],
    }


def table(cells: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """A Markdown table of what was measured, the cheapest first."""
    heads = [
        "protection",
        "CPU seconds",
        "memory, MB",
        "PGD steps",
        "training steps",
        "UNet, back",
        "encoder, back",
        "decoder, back",
        "outside",
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    measured = [
        (name if preset == "tiny" else f"{name}:{preset}", cell)
        for name, presets in cells.items()
        for preset, cell in presets.items()
        if "outside" in cell
    ]
    for name, cell in sorted(measured, key=lambda item: item[1]["cpu_seconds"]):
        passes = [
            f"{cell[p]}, {cell[f'{p}_backward']}" for p in ("unet", "vae_encode", "vae_decode")
        ]
        numbers = [
            f"{cell['cpu_seconds']:.0f}",
            str(cell["peak_memory_mb"]),
            str(cell["pgd_steps"]),
            str(cell["training_steps"]),
        ]
        lines.append(f"| {' | '.join([name, *numbers, *passes, format(cell['outside'], '.0%')])} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument(
        "--protection", nargs="*", default=[name for name, _ in registry.listing("protections")]
    )
    parser.add_argument(
        "--preset", nargs="*", default=["tiny"], help="which presets are run; all are counted"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--doc", type=Path, default=Path("docs/protections.md"))
    args = parser.parse_args()
    n = len(load_sets(args.photos)[0].files)
    for name in args.protection:
        module = registry.load("protections", name)
        for preset, config in module.PRESETS.items():
            cells = json.loads(COSTS.read_text())["cells"] if COSTS.exists() else {}
            cell = cells.setdefault(name, {}).get(preset, {}) | asdict(
                dry_run.count(module, config, photos=n)
            )
            if preset in args.preset:
                cell |= cost(args.photos, name, preset, args.threads)
            cells[name][preset] = cell
            write_json(COSTS, {"about": ABOUT.format(n), "cells": cells})
            print(name, preset, json.dumps(cell), flush=True)
    tables.write(args.doc, "cost", table(json.loads(COSTS.read_text())["cells"]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["stages"]:
        stages.main(sys.argv[2:])
    else:
        main()
