"""The loss of every training as a picture, and as numbers that a resumed training goes on with.

Run: python training/curves.py --work WORK        -> training/curves.json, training/curves.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from assemble import PARTS
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
TITLES = {
    "clip": "CLIP, first stage",
    "clip-pairs": "CLIP, second stage",
    "ddpm": "denoiser of pixels",
}


def collect(work: Path) -> dict[str, dict]:
    """Records of all parts: those in `work` replace what an earlier call wrote, unless they know
    less of the curve."""
    path = HERE / "curves.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for part in PARTS:
        record = work / part / "record.json"
        if record.exists() and (new := json.loads(record.read_text()))["curve"]:
            found[part] = {k: new[k] for k in ("step", "steps", "cpu_seconds", "curve")}
    path.write_text(json.dumps(found) + "\n")
    return found


def draw(found: dict[str, dict], path: Path) -> None:
    """One panel a part: the mean loss of each 20 seconds, pale, and its mean over a tenth of the
    training, dark."""
    parts = [p for p in PARTS if p in found]
    rows = -(-len(parts) // 4)
    figure, axes = plt.subplots(
        rows, 4, figsize=(14, 3 * rows), layout="constrained", squeeze=False
    )
    for axis in axes.flat[len(parts) :]:
        axis.axis("off")
    for axis, part in zip(axes.flat, parts, strict=False):
        steps, losses = zip(*found[part]["curve"], strict=True)
        width = max(1, len(losses) // 10)
        smooth = [
            sum(losses[max(0, i - width) : i + 1]) / len(losses[max(0, i - width) : i + 1])
            for i in range(len(losses))
        ]
        axis.plot(steps, losses, color="#9db7d5", linewidth=0.8)
        axis.plot(steps, smooth, color="#1f4e79", linewidth=1.5)
        tail = sorted(losses)[
            : round(0.95 * len(losses)) or 1
        ]  # the first few steps would flatten everything after them
        span = max(tail) - min(tail) or 1
        axis.set_ylim(min(tail) - 0.05 * span, max(tail) + 0.15 * span)
        minutes = found[part]["cpu_seconds"] / 60
        axis.set_title(
            f"{TITLES.get(part, part)}\n{found[part]['step']:,} steps, {minutes:.0f} CPU minutes",
            fontsize=10,
        )
        axis.set_xlabel("step", fontsize=9)
        axis.set_ylabel("loss", fontsize=9)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    draw(collect(parser.parse_args().work), HERE / "curves.png")


if __name__ == "__main__":
    main()
