"""Are the seconds left right? Short runs of `protect`, `audit` and `bench` on sample photos, each
in a process of its own: what was told at a tenth, a quarter and half of the run, against what it
took.

    python benchmarks/timeleft.py [--run protect-pid ...]

Seconds are CPU seconds of the process, which other work on the machine does not change. Into
results/timeleft.json, and the table in docs/reliability.md. Takes ten CPU minutes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import tables

from cloakwork.files import SAMPLE_PHOTOS, write_json

AT = (0.1, 0.25, 0.5)
Tell = Callable[[str, int, int], None]


def protection(name: str, settings: dict[str, Any], folder: Path, tell: Tell) -> None:
    """`protect` with a short schedule, on two photos."""
    from cloakwork.workflows.protect import protect

    protect(
        sorted(SAMPLE_PHOTOS.glob("*.png"))[:2],
        folder / "out",
        protection=name,
        progress=tell,
        **settings,
    )


def audit_run(folder: Path, tell: Tell) -> None:
    """`audit` of one photo set with a short attacker."""
    from cloakwork.workflows.audit import audit
    from cloakwork.workflows.protect import protect

    protect(sorted(SAMPLE_PHOTOS.glob("*.png"))[:1], folder / "out", protection="noise")
    attacker = "dreambooth:tiny:steps=40,class_images=8"
    audit(folder / "out", folder / "audit", attacker=attacker, purifiers="none", progress=tell)


def bench_run(folder: Path, tell: Tell) -> None:
    """`bench quick`, one photo set of its two."""
    from cloakwork.benchmark.recipes.quick import quick
    from cloakwork.workflows.bench import bench

    grid = quick(None)
    fewer = [replace(t, subjects=t.subjects[:1]) for t in grid.tables if t.budget != 0]
    grid = replace(grid, tables=tuple(fewer))
    bench(
        grid,
        folder / "bench",
        tell=lambda done, total, name: tell("steps", done, total),
        progress=tell,
    )


RUNS: dict[str, Callable[[Path, Tell], None]] = {
    "protect-pid": lambda f, tell: protection("pid", {"steps": 60}, f, tell),
    "protect-aspl": lambda f, tell: protection("aspl", {"outer": 24, "class_images": 8}, f, tell),
    "protect-cloakwork": lambda f, tell: protection(
        "cloakwork", {"outer": 3, "steps": 4, "class_images": 8}, f, tell
    ),
    "audit": audit_run,
    "bench": bench_run,
}


def measured(name: str) -> dict[str, Any]:
    """One run in this process: what was told when, and by the share of steps alone.

    What the run imports is no part of it.
    """
    import torch

    from cloakwork.workflows import forecast
    from cloakwork.workflows.how_far import TIME, share_done

    importlib.import_module(f"cloakwork.workflows.{name.partition('-')[0]}")
    torch.set_num_threads(1)
    forecast.clock = time.process_time
    told: list[tuple[float, float, float | None]] = []
    running: dict[str, tuple[int, int]] = {}
    begun = 0.0

    def tell(label: str, done: int, total: int) -> None:
        nonlocal begun
        now = time.process_time()
        if label != TIME:
            begun = begun or now
            running[label] = (done, total)
            return
        share = share_done(running)
        passed = now - begun
        told.append((passed, total - done, passed * (1 - share) / share if share else None))

    with tempfile.TemporaryDirectory() as folder:
        begun = time.process_time()
        RUNS[name](Path(folder), tell)
    whole = time.process_time() - begun
    rows = []
    for at in AT:
        passed, left, by_share = next(t for t in told if t[0] >= at * whole)
        real = whole - passed
        row = {"at": passed / whole, "left": real, "told": left / real}
        rows.append(row | {"by share of steps": by_share / real if by_share else None})
    return {"seconds": whole, "rows": rows}


def table(found: dict[str, dict[str, Any]]) -> list[str]:
    """A Markdown table."""
    heads = ["run", "CPU s", "after", "told / real", "by the share of steps"]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for name, run in found.items():
        for row in run["rows"]:
            share = row["by share of steps"]
            cells = [name, f"{run['seconds']:.0f}", f"{row['at']:.0%}", f"{row['told']:.2f}"]
            lines.append(f"| {' | '.join([*cells, '-' if share is None else f'{share:.2f}'])} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", nargs="*", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--out", type=Path, default=Path("results/timeleft.json"))
    parser.add_argument("--doc", type=Path, default=Path("docs/reliability.md"))
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        print(json.dumps(measured(args.run[0])))
        return
    for name in args.run:
        with tempfile.TemporaryDirectory() as cache:
            command = [sys.executable, __file__, "--here", "--run", name]
            own = os.environ | {"CLOAKWORK_CACHE": cache}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=own)
        if done.returncode:
            sys.exit(done.stderr)
        found = json.loads(args.out.read_text()) if args.out.exists() else {}
        found[name] = json.loads(done.stdout.splitlines()[-1])
        write_json(args.out, found)
        print(*table({name: found[name]})[2:], sep="\n", flush=True)
        tables.write(args.doc, "timeleft", table(found))


if __name__ == "__main__":
    main()
