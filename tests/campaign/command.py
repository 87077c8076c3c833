"""The campaign: damaged photos, damaged records and stores, kills, copies hidden in metadata.

Every part is seeded and runs in pieces; what is finished is kept in OUT/campaign.json, so that a
campaign that was stopped goes on. The counts are printed; FAULT is what must not happen.

Run: make campaign, or in this folder's parent: python -m campaign --out FOLDER [--only photos]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from campaign import carriers, kills, photos, records
from cloakwork._version import __version__

WORKERS = 2
RESULTS = Path(__file__).parents[2] / "results" / "campaign.json"


@dataclass(frozen=True)
class Part:
    """A part of the campaign.

    Attributes:
        run: from seed, count and a folder for its files to outcome -> how often.
        count: of cases in all.
        piece: cases that are run, and kept, together.
    """

    run: Callable[[int, int, Path], Counter[str]]
    count: int
    piece: int


PARTS = {
    "photos": Part(photos.run, 10_000, 500),
    "records": Part(records.run, 1_000, 250),
    "kills": Part(kills.run, 300, 75),
    "carriers": Part(carriers.run, 1_000, 100),
}


def main() -> int:
    """Run what is not finished, print the counts, and return 1 where there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("campaign-output"))
    parser.add_argument("--only", choices=PARTS, action="append", help="repeatable")
    parser.add_argument("--share", type=float, default=1.0, help="of the cases")
    parser.add_argument("--keep", action="store_true", help=f"the counts in {RESULTS.name}")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    kept = asked.out / "campaign.json"
    done: dict[str, dict[str, int]] = json.loads(kept.read_text()) if kept.exists() else {}
    pieces = {
        f"{name} {seed}": (part, seed, size)
        for name, part in PARTS.items()
        if name in (asked.only or PARTS)
        for seed, size in _pieces(part, asked.share)
    }
    # a fresh process each: kills must not be inherited, and memory that leaks must not add up
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=context, max_tasks_per_child=1) as pool:
        running = {
            pool.submit(_piece, part, seed, size, asked.out / name.replace(" ", "-")): name
            for name, (part, seed, size) in pieces.items()
            if name not in done
        }
        for finished in as_completed(running):
            done[running[finished]] = dict(finished.result())
            kept.write_text(json.dumps(done, indent=1, sort_keys=True) + "\n")
            print(f"{running[finished]}: {done[running[finished]]}", flush=True)
    totals = {name: Counter[str]() for name in PARTS}
    for name, outcomes in done.items():
        totals[name.split()[0]].update(outcomes)
    print(json.dumps(totals, indent=1))
    if asked.keep:
        about = {"made_by": __version__, "date": time.strftime("%Y-%m-%d"), "counts": totals}
        RESULTS.write_text(json.dumps(about, indent=1) + "\n")
    return int(any(outcome.startswith("FAULT") for part in totals.values() for outcome in part))


def _pieces(part: Part, share: float) -> list[tuple[int, int]]:
    """Return seed and size of each piece of a part.

    >>> _pieces(Part(photos.run, 1200, 500), 1)
    [(0, 500), (1, 500), (2, 200)]
    """
    count = max(1, round(part.count * share))
    sizes = [min(part.piece, count - at) for at in range(0, count, part.piece)]
    return list(enumerate(sizes))


def _piece(part: Part, seed: int, size: int, folder: Path) -> Counter[str]:
    """Run a piece in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    return part.run(seed, size, folder)
