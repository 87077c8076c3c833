"""What the engines cost beside the steps: graphs of a thousand to a hundred thousand steps that
only sleep.

    python benchmarks/scale.py             (from the repository's root: into results/scale.json and
    docs/scale.md) python benchmarks/scale.py --table     (docs/scale.md anew from
    results/scale.json)

Ten steps to a photo set: one after the photos, three after that, two after each of these. Through
the whole code path (a purifier, this file, that gives the photos back; keys, claims, results and
records on the disk) or bare (the scheduler and Ray's tasks alone, whose work is the sleep).
`serial` is spared the hundred thousand. Every measurement is a process of its own. Walls depend on
what else the machine does, which the load average tells (runnable processes when the measurement
began and ended); CPU seconds less so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from cloakwork.benchmark.execution import ray_cluster, ray_driver, serial
from cloakwork.benchmark.execution.ready_queue import TaskResult
from cloakwork.benchmark.execution.serial import Outcome
from cloakwork.environment import peak_memory_mb, surroundings
from cloakwork.evaluation import steps
from cloakwork.evaluation.sources import Source, source
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.files import write_json
from cloakwork.specs import Method
from cloakwork.types import Photos

VERSION = 1
SLEEP = 0.002  # seconds
WORKERS = 2
SET = 10  # steps
# engine, steps, whether the steps are bare
PLAN = (
    ("serial", 1_000, False),
    ("ray", 1_000, False),
    ("ray", 1_000, True),
    ("ray", 10_000, True),
    ("serial", 10_000, False),
    ("ray", 10_000, False),
    ("ray", 100_000, True),
    ("ray", 100_000, False),
)


@dataclass(frozen=True)
class Config:
    """A sleep."""

    number: int = 0
    """so that steps differ"""
    seconds: float = SLEEP
    """how long it takes"""


def purify(photos: Photos, ldm: None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """The photos as they are, after a while."""
    time.sleep(cfg.seconds)
    return photos


def nap(name: str, references: list[Any]) -> TaskResult:
    """A bare step."""
    time.sleep(SLEEP)
    return TaskResult(finished=True, made=True)


def photo_sets(folder: Path, n: int) -> list[Step]:
    """Targets that rest on n steps, ten to a photo set."""
    from benchmarks import scale  # this file as workers know it

    photo = folder / "photo.png"
    Image.new("RGB", (64, 64), "grey").save(photo)
    photos, targets = source([photo]), []

    def step(number: int, given: Source | Step) -> Step:
        return Step(Method("purifiers", "benchmarks.scale", scale.Config(number)), (given,))

    for number in range(0, n, SET):
        first = step(number, photos)
        for child in (1, 2, 3):
            middle = step(number + child, first)
            targets += [step(number + 2 + 2 * child + leaf, middle) for leaf in (0, 1)]
    return targets


def rss_mb() -> float:
    """What this process holds now, in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measured(engine: str, n: int, bare: bool, folder: Path) -> dict[str, Any]:
    """The numbers."""
    load, start = os.getloadavg()[0], rss_mb()
    targets, workspace = photo_sets(folder, n), Workspace(folder / "store", "cpu")
    begun, cpu = time.monotonic(), time.process_time()
    todo = steps.graph(targets, workspace, missing=True)
    graph, holds = (time.monotonic() - begun, time.process_time() - cpu), rss_mb()
    begun, cpu = time.monotonic(), time.process_time()
    outcome = executed(engine, targets, todo, workspace, bare)
    wall, cpu = time.monotonic() - begun, time.process_time() - cpu
    assert len(outcome.made) == n and not outcome.failed, (len(outcome.made), outcome.failed)
    workers = WORKERS if engine == "ray" else 1
    return {
        "engine": engine,
        "steps": n,
        "bare": bare,
        "workers": workers,
        "sleep": SLEEP,
        "graph_seconds": graph[0],
        "graph_cpu_seconds": graph[1],
        "seconds": wall,
        "driver_cpu_seconds": cpu,
        "ms_a_step": 1000 * wall / n,
        "ms_a_step_beside_the_sleep": 1000 * (wall / n - SLEEP / workers),
        "driver_cpu_ms_a_step": 1000 * cpu / n,
        "mb_at_start": start,
        "mb_with_graph": holds,
        "peak_mb": peak_memory_mb(),
        "load": [load, os.getloadavg()[0]],
    }


def executed(
    engine: str, targets: list[Step], todo: dict[str, Step], workspace: Workspace, bare: bool
) -> Outcome:
    """The steps, by one of the engines."""
    if engine == "serial":
        return serial.serial(targets, workspace)
    return ray_driver.spread(todo, workspace, nap if bare else None)


def one(engine: str, n: int, bare: bool) -> dict[str, Any]:
    """One measurement, in this process, whose workers have started."""
    sys.path.append(str(Path.cwd()))
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        if engine == "serial":
            return measured(engine, n, bare, Path(folder))
        with ray_cluster.connected(workers=WORKERS):
            warm_up()
            return measured(engine, n, bare, Path(folder))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--one", nargs=3, metavar=("ENGINE", "STEPS", "BARE"), help="only this, as a line of JSON"
    )
    parser.add_argument("--table", action="store_true", help="only write the table again")
    parser.add_argument("--out", type=Path, default=Path("results/scale.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.table:
        return write_table(json.loads(args.out.read_text())["rows"])
    if args.one:
        print(json.dumps(one(args.one[0], int(args.one[1]), args.one[2] == "True")))
        return
    found = []
    for engine, n, bare in PLAN:
        done = subprocess.run(
            [sys.executable, __file__, "--one", engine, str(n), str(bare)],
            check=True,
            stdout=subprocess.PIPE,
        )
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(found[-1], flush=True)
        write_json(
            args.out,
            {
                "rows": found,
                "processors": os.cpu_count(),
                "surroundings": surroundings(torch.device("cpu")),
            },
        )
    write_table(found)


def write_table(found: list[dict[str, Any]]) -> None:
    """The table of docs/scale.md."""
    import tables  # beside this file, where workers do not look

    heads = [
        "engine",
        "steps",
        "what a step does",
        "graph, s",
        "run, s",
        "ms a step, beside the sleep",
        "driver's CPU ms a step",
        "driver's MB: start, with the graph, peak",
        "load",
    ]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in sorted(found, key=lambda r: (r["bare"], r["engine"], r["steps"])):
        work = "sleeps" if row["bare"] else "sleeps, with store"
        held = f"{row['mb_at_start']:.0f}, {row['mb_with_graph']:.0f}, {row['peak_mb']:.0f}"
        cells = [
            row["engine"],
            f"{row['steps']:,}",
            work,
            f"{row['graph_seconds']:.2f}",
            f"{row['seconds']:.1f}",
            f"{row['ms_a_step_beside_the_sleep']:.2f}",
            f"{row['driver_cpu_ms_a_step']:.2f}",
            held,
            f"{row['load'][0]:.1f} to {row['load'][1]:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    tables.write(Path("docs/scale.md"), "engines", lines)


def warm_up() -> None:
    """Has the workers import what they need."""
    import ray

    ray.get([ray.remote(_ready).remote() for _ in range(4 * WORKERS)])


def _ready() -> None:
    import cloakwork.benchmark.execution.ray_worker  # noqa: F401

    time.sleep(1)


if __name__ == "__main__":
    main()
