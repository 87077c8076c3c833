"""The mean of two checkpoints of one training, in place of the later one (weight averaging,
Izmailov et al., arXiv 1803.05407).

Run: python training/average.py --work WORK --part decoder-tiny --earlier FILE     (FILE: an earlier
state.safetensors)
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from fold import trained
from safetensors.torch import load_file, save_file


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--part", required=True)
    parser.add_argument("--earlier", type=Path, required=True)
    args = parser.parse_args()
    folder = args.work / args.part
    late, early = trained(folder), load_file(args.earlier)
    if late is None:
        raise SystemExit(f"{folder} has no checkpoint yet.")
    mean = {k: (w + early[f"ema.{k}"].float()) / 2 for k, w in late.items()}
    save_file(
        {f"{kind}.{k}": w.clone() for k, w in mean.items() for kind in ("model", "ema")},
        folder / "state.tmp",
    )
    os.replace(
        folder / "state.tmp", folder / "state.safetensors"
    )  # without moments: AdamW would begin anew
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(
        json.dumps(record | {"averaged_with": str(args.earlier.name)})
    )


if __name__ == "__main__":
    main()
