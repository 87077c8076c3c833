"""Scores of tables, kept so that another machine may go on where one has stopped, and so that a
table whose protections have changed in part is measured anew in that part alone.

    python benchmarks/scores.py keep --data DATA --store STORE NAME ...
    python benchmarks/scores.py put --store STORE
    python benchmarks/scores.py tables --data DATA --store STORE NAME ...

`keep` copies a table's scores from a store into results/scores/NAME.json (with --device cuda:
results/scores-cuda), without a name those of all tables of which the store has any; `put` copies
all of them into another store, `tables` writes whole tables of the recipe tiny into docs/.

A score is all that a table needs of an attacker's pictures, and what a result rests on is not
needed where the result is there. So a few hundred bytes stand for an attacker, and no photo of a
person nor an attacker's picture goes along.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import docs
import torch

from cloakwork.benchmark import grids
from cloakwork.benchmark.collect import collect
from cloakwork.benchmark.flags import add_flags
from cloakwork.benchmark.grids import Grid, Table
from cloakwork.benchmark.recipes.tiny import tiny
from cloakwork.evaluation import steps
from cloakwork.evaluation.steps import Workspace
from cloakwork.files import atomic_write, save_json
from cloakwork.workflows import bench as bench_workflow

RESULTS = Path("results")


def scores(device: str) -> Path:
    """The folder of a device's scores: names hold the device, so one's are never another's."""
    return RESULTS / ("scores" if device == "cpu" else f"scores-{device}")


def _read(path: Path) -> dict[str, dict[str, Any]]:
    return json.loads(path.read_text()) if path.exists() else {}


def keep(table: Table, workspace: Workspace, folder: Path) -> int:
    """Adds the store's scores of a table to its file, a line each, and drops those of nothing that
    the table has now; returns how many are there.

    No scores, no file.
    """
    path = folder / f"{table.name.replace(' ', '-')}.json"
    kept = _read(path)
    grid = Grid("tiny", "", (table,))
    wanted = {steps.name_of(step, workspace) for step in grids.targets(grid)}
    for name in sorted(wanted):
        if found := workspace.results.find(name):
            record = workspace.results.record(name)
            kept[name] = {
                "content": json.loads(found.read_text()),
                "about": {k: record[k] for k in ("kind", "name", "seed")},
            }
    kept = {name: what for name, what in sorted(kept.items()) if name in wanted}
    if not kept:
        path.unlink(missing_ok=True)
        return 0
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(what)}" for name, what in kept.items())
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        part.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    return len(kept)


def put(workspace: Workspace, folder: Path) -> int:
    """Puts the folder's scores into a store, where they are not there; returns how many that
    were."""
    done = 0
    for name, what in chain.from_iterable(_read(path).items() for path in folder.glob("*.json")):
        with workspace.results.claimed(name) as ours:
            if ours and not workspace.results.has(name):
                workspace.results.keep(
                    name, partial(save_json, content=what["content"]), what["about"]
                )
                done += 1
    return done


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("keep", "put", "tables"))
    parser.add_argument("names", nargs="*", help="tables")
    parser.add_argument("--data", type=Path, help="as for the recipe tiny")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument(
        "--device",
        default="cpu",
        help="where they were, or are to be, computed: a part of every name",
    )
    args = parser.parse_intermixed_args()
    torch.set_num_threads(1)  # as in the keys of what is kept
    workspace, folder = Workspace(args.store, args.device), scores(args.device)
    if args.what == "put":
        print(f"{put(workspace, folder)} scores put into {args.store}")
        return
    grid = bench_workflow.only(tiny(args.data), args.names)
    if args.what == "keep":
        for table in grid.tables:
            if count := keep(table, workspace, folder):
                print(f"{table.name}: {count} scores in {folder}")
        return
    found = add_flags(collect(grid, workspace), grid, workspace)
    for table in found.tables:
        lacking = [
            f"{c.protection}, {c.threat_model}, {c.metric}"
            for c in table.cells
            if c.status == "failed"
        ]
        if lacking:
            raise SystemExit(
                f"The table '{table.name}' is not whole: {len(lacking)} cells lack, "
                f"such as {lacking[0]}."
            )
    docs.keep(found)
    docs.fill()


if __name__ == "__main__":
    main()
