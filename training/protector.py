"""The patterns that the package has for its protection `learned`.

They are learned as `cloakwork learn-pattern` learns them (see `workflows/learn_pattern.py`), from
starts that everybody may know.

Run: python training/protector.py --photos PHOTOS --work WORK --out src/cloakwork/assets/protector
     python training/assemble.py --work WORK --out src/cloakwork/assets
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from data import photo_files

from cloakwork.models import autoencoders, protector
from cloakwork.state import RunState
from cloakwork.workflows.learn_pattern import ENCODERS, STEP, learn, squares_of


def told(label: str, done: int, total: int) -> None:
    if done % 25 == 0 or done == total:
        print(label, done, "of", total, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the patterns' folder")
    parser.add_argument("--patterns", type=int, default=2)
    parser.add_argument("--steps", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = args.work / "protector"
    squares = squares_of(photo_files(args.photos, held_out=False))
    coders = [autoencoders.load(name, "cpu") for name in ENCODERS]
    begun, made = time.process_time(), []
    for seed in range(args.patterns):
        state = RunState(folder / f"pattern-{seed}.safetensors", f"pattern {seed}", told)
        made.append(learn(squares, coders, args.steps, seed, state))
    protector.save(torch.stack(made), args.out)
    steps = args.patterns * args.steps
    about = {"step": steps, "steps": steps, "lr": STEP}
    about["cpu_seconds"] = round(time.process_time() - begun)  # of this run, if it was stopped
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
