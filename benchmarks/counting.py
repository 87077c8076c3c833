"""CPU seconds in which the passes of each preset are counted, one turn of each kind multiplied
(`protect --dry-run`) and every turn gone through, and whether both come to the same.

    python benchmarks/counting.py [--every aspl:tiny ...]

Into results/counting.json, and the table in docs/protections.md. Going through every turn of every
preset takes a quarter of an hour; --every names those for which it is done, and others keep what is
known of them.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import tables
import torch

from cloakwork import registry
from cloakwork.environment import surroundings
from cloakwork.files import write_json
from cloakwork.workflows import dry_run

PHOTOS = 5


def counted(module: ModuleType, config: Any, *, whole: bool) -> dict[str, Any]:
    """Counts, and the CPU seconds that they took."""
    begun = time.process_time()
    counts = dry_run.count(module, config, photos=PHOTOS, whole=whole)
    return {"cpu_seconds": round(time.process_time() - begun, 2), "counts": asdict(counts)}


def table(rows: list[dict[str, Any]]) -> list[str]:
    """A Markdown table, the longest first."""
    lines = [
        "| preset | every turn, CPU s | one turn, CPU s | the same counts |",
        "|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: -row["one turn"]["cpu_seconds"]):
        every, one = row.get("every turn"), row["one turn"]
        if every is None:
            lines.append(f"| {row['preset']} | - | {one['cpu_seconds']:.2f} | - |")
            continue
        apart = [
            f"{name.replace('_', ' ')} {n:,} and {one['counts'][name]:,}"
            for name, n in every["counts"].items()
            if one["counts"][name] != n
        ]
        seconds = f"{every['cpu_seconds']:.2f} | {one['cpu_seconds']:.2f}"
        lines.append(f"| {row['preset']} | {seconds} | {'; '.join(apart) or 'yes'} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--every", nargs="*", help="presets of which every turn is gone through")
    parser.add_argument("--out", type=Path, default=Path("results/counting.json"))
    parser.add_argument("--doc", type=Path, default=Path("docs/protections.md"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    modules = [registry.load("protections", name) for name, _ in registry.listing("protections")]
    for module in modules:  # what is imported on first use does not count
        dry_run.count(module, module.PRESETS["tiny"])
    kept = json.loads(args.out.read_text())["rows"] if args.out.exists() else []
    rows = {row["preset"]: row for row in kept}
    for module in modules:
        for name, config in module.PRESETS.items():
            preset = f"{module.__name__.rpartition('.')[2]}:{name}"
            row = rows.setdefault(preset, {"preset": preset})
            row["one turn"] = counted(module, config, whole=False)
            if args.every is None or preset in args.every:
                row["every turn"] = counted(module, config, whole=True)
            told = {"photos": PHOTOS, "surroundings": surroundings(torch.device("cpu"))}
            write_json(args.out, {"rows": list(rows.values()), **told})
            print(*table([row])[2:], flush=True)
    tables.write(args.doc, "counting", table(list(rows.values())))


if __name__ == "__main__":
    main()
