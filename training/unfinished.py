"""A training that is not at its end, small enough to be committed: its weights in bf16, and its
record.

Run: python training/unfinished.py --work WORK --part dit             (into training/unfinished/dit)
     python training/unfinished.py --work WORK --part dit --restore   (a checkpoint to go on from)
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from loop import checkpoint_from
from safetensors.torch import load_file, save_file

KEPT = Path(__file__).parent / "unfinished"
PREFIX = "model."


def keep(source: Path, kept: Path) -> None:
    """Write what a training has learned; averages and moments are left out."""
    saved = load_file(source / "state.safetensors")
    kept.mkdir(parents=True, exist_ok=True)
    weights = {k: v.bfloat16() for k, v in saved.items() if k.startswith(PREFIX)}
    save_file(weights, kept / "weights.safetensors")
    shutil.copyfile(source / "record.json", kept / "record.json")


def restore(kept: Path, target: Path) -> None:
    """Write a checkpoint whose averages are the weights; one that exists is left alone."""
    saved = load_file(kept / "weights.safetensors")
    weights = {k.removeprefix(PREFIX): v for k, v in saved.items()}
    if not checkpoint_from(target, weights, json.loads((kept / "record.json").read_text())):
        raise SystemExit(f"{target} has a checkpoint, which is left alone.")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part", required=True, help="its folder in WORK, such as dit")
    parser.add_argument("--restore", action="store_true")
    args = parser.parse_args()
    if args.restore:
        restore(KEPT / args.part, args.work / args.part)
    else:
        keep(args.work / args.part, KEPT / args.part)


if __name__ == "__main__":
    main()
