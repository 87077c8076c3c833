"""The networks of the purifier `learned`, which take away what `pid` and `pid:lasting` add.

As anybody would train one with `cloakwork train-purifier`, on photos that nothing is measured on.

Run: python training/purifier.py --photos PHOTOS --work WORK --out src/cloakwork/assets/purifier
     python training/purifier.py --photos PHOTOS --work WORK --protection pid:lasting \\
     --out src/cloakwork/assets/purifier_lasting
     (again after an interruption: they go on)
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from pathlib import Path

from data import photo_files

from cloakwork.models import cleaner
from cloakwork.workflows.train_purifier import RATE, train_purifier

PEOPLE = ("Faces", "Faces_easy")


def draw(files: list[Path], people: int, things: int) -> list[Path]:
    """So many photos of people and of other things, drawn by a seed."""
    rng = random.Random(0)
    of_people = [f for f in files if f.parent.name in PEOPLE]
    others = [f for f in files if f.parent.name not in PEOPLE]
    return rng.sample(of_people, people) + rng.sample(others, things)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the network's folder")
    parser.add_argument("--protection", default="pid")
    parser.add_argument("--people", type=int, default=80, help="photos of them")
    parser.add_argument("--things", type=int, default=120, help="photos of them")
    parser.add_argument("--steps", type=int, default=2000)
    args = parser.parse_args()
    folder = args.work / args.out.name
    originals = folder / "photos"
    originals.mkdir(parents=True, exist_ok=True)
    for file in draw(photo_files(args.photos, held_out=False), args.people, args.things):
        shutil.copyfile(file, originals / f"{file.parent.name}-{file.name}")
    begun = time.process_time()
    print(train_purifier(originals, folder / "net", protection=args.protection, steps=args.steps))
    args.out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "net" / cleaner.WEIGHTS, args.out / cleaner.WEIGHTS)
    told = json.loads((folder / "net" / "config.json").read_text())
    card = {k: v for k, v in told.items() if k not in ("folder", "trace")}
    card["protection"] = args.protection  # with its preset
    (args.out / "config.json").write_text(json.dumps(card, indent=1) + "\n")
    about = {"step": args.steps, "steps": args.steps, "lr": RATE}
    about["cpu_seconds"] = round(time.process_time() - begun)  # of this run, if it was stopped
    (folder / "record.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
