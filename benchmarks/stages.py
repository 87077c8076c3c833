"""What one photo takes, stage by stage: CPU seconds of reading it, of protecting it, of writing it
and of measuring the file, and peak memory; at 512 pixels, 12 and 24 megapixels.

    python benchmarks/cost.py stages [--size 512 ...] [--protection pid ...] [--turns 3] [--slow]
    [--before CHECKOUT]

Each run is a process of its own on `tiny`, with one thread and an empty cache of class pictures.
They take turns: all once, then all again, so that what else the machine does spares none; with
`--before`, each with the code of another checkout too. Into results/stages.json, all runs, and the
table in docs/protections.md, their medians.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import peaks
import tables
from finding_tables import head, line

from cloakwork.files import write_json

ROOT = Path(__file__).parents[1]
CHILD = Path(__file__).with_name("staged.py")
SIZES = {"64": (64, 64)} | peaks.SIZES  # the smallest to see that it works
PROTECTIONS = ("learned", "pid:refined", "pid", "pid:lasting", "cloakwork")
SLOW = "cloakwork"  # minutes a run
STAGES = ("load", "apply", "encode", "measure", "all")
Found = dict[str, dict[str, list[dict[str, float]]]]


def measured(photos: Path, protection: str, checkout: Path) -> dict[str, float]:
    """CPU seconds of each stage, and peak memory, MB, of a process with the code of a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        own = {
            "PYTHONPATH": str(checkout / "src"),
            "OMP_NUM_THREADS": "1",
            "CLOAKWORK_CACHE": f"{folder}/cache",
        }
        command = [sys.executable, str(CHILD), str(photos), f"{folder}/out", protection]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | own
        )
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def table(found: Found) -> list[str]:
    """A line for each size, protection and checkout: medians, and of how many runs."""
    lines = head(["photo", "protection", *(f"{s}, s" for s in STAGES), "peak MB", "runs"])
    for cell, columns in found.items():
        size, name = cell.split(", ")
        for column, runs in columns.items():
            if not runs:
                continue
            numbers = [f"{median(run[stage] for run in runs):.2f}" for stage in STAGES]
            peak = f"{median(run['peak_mb'] for run in runs):,.0f}"
            who = name if column == "now" else f"{name}, {column}"
            lines.append(line([size, who, *numbers, peak, str(len(runs))]))
    return lines


def stages(results: Path) -> list[str]:
    """The table of what is kept."""
    return table(json.loads((results / "stages.json").read_text()))


TABLES = {"stages": (("stages.json",), stages)}


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", nargs="*", default=list(peaks.SIZES), choices=list(SIZES))
    parser.add_argument("--protection", nargs="*", default=list(PROTECTIONS))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--slow", action="store_true", help=f"{SLOW} on large photos too")
    parser.add_argument("--before", type=Path, help="another checkout, to compare with")
    parser.add_argument("--out", type=Path, default=Path("results/stages.json"))
    parser.add_argument("--doc", type=Path, default=Path("docs/protections.md"))
    args = parser.parse_args(words)
    checkouts = {"before": args.before.absolute()} if args.before else {}
    checkouts["now"] = ROOT
    for checkout in checkouts.values():
        if not (checkout / "src/cloakwork").is_dir():
            parser.error(f"{checkout} has no src/cloakwork; name a checkout of cloakwork")
    found: Found = json.loads(args.out.read_text()) if args.out.exists() else {}
    cells: list[tuple[Any, Any]] = [
        (size, name)
        for size, name in product(args.size, args.protection)
        if args.slow or name != SLOW or not size.endswith("MP")
    ]
    for size, name in cells:
        found[f"{size}, {name}"] = {column: [] for column in checkouts}
    with tempfile.TemporaryDirectory() as folder:
        photos = {size: peaks.photo(SIZES[size], Path(folder) / size) for size in args.size}
        for _, (size, name), (column, checkout) in product(
            range(args.turns), cells, checkouts.items()
        ):
            run = measured(photos[size], name, checkout)
            found[f"{size}, {name}"][column].append(run)
            write_json(args.out, found)
            print(size, name, column, json.dumps(run), flush=True)
    tables.write(args.doc, "stages", table(found))
