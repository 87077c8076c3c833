"""The one-pass protector: a few patterns, tiled over any photo, learned through encoders.

Each pattern is learned alone, from its own random start, so that what one of them was is no help in
guessing another. A step takes squares of photos, adds the pattern at a random place within the
budget, shows original and perturbed as a loader would (another size, now and then blurred or
compressed), and takes from one encoder how far mean and log variance of its posterior have moved:
the loss of `pid`. The loss is the mean logarithm, so that a photo that has moved far already counts
no more than another. The pattern moves by the sign of its running gradient, as PGD moves a photo.
Never at the photo's own size alone, where stripes of one pixel's width would win, which any resize
removes.

Run: python training/protector.py --photos PHOTOS --work WORK --pattern 0
     python training/protector.py --work WORK --out src/cloakwork/assets/protector
     python training/assemble.py --work WORK --out src/cloakwork/assets
"""

from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data import photo_files, to_unit
from kornia.filters import gaussian_blur2d
from PIL import Image
from torch import Tensor

from cloakwork.files import read_tensors, write_tensors
from cloakwork.models import autoencoders, latents, protector
from cloakwork.models.encoder import Encoder
from cloakwork.purifiers import jpeg

SIDE = 192  # pixels of a square
BATCH = 6
BUDGET = 11 / 255
SMALLEST, LARGEST = 0.35, 1.05  # of a loader's picture against the square
GRAIN = 16  # pixels that its sides are multiples of
BLURRED, COMPRESSED = 0.3, 0.3  # shares of steps
FLOOR = 0.01  # distance, below which the logarithm falls no further
STEP, LAST_STEP = 0.05, 0.005  # change of a pattern in shares of the budget
MOMENTUM = 0.9
# `tiny` in every second step, the others in turn
ENCODERS = ("tiny", "sd3:tiny", "tiny", "flux2:tiny", "tiny", "tiny-b")
KEEP = 25  # steps between checkpoints


def square(path: Path, rng: random.Random) -> np.ndarray:
    """A random square of a photo, 3 x SIDE x SIDE uint8; small photos are enlarged to hold one."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    scale = max(SIDE / min(image.size), rng.uniform(0.6, 1.0))
    width, height = (max(SIDE, round(scale * s)) for s in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = rng.randint(0, width - SIDE), rng.randint(0, height - SIDE)
    x = np.asarray(image.crop((left, top, left + SIDE, top + SIDE))).transpose(2, 0, 1)
    return x[:, :, ::-1].copy() if rng.random() < 0.5 else x


def shown(pair: Tensor, rng: random.Random) -> Tensor:
    """Originals and perturbed ones as one loader shows them, 2n x 3 x s x s."""
    if rng.random() < BLURRED:
        sigma = rng.uniform(0.3, 1.2)
        reach = 2 * max(1, round(3 * sigma)) + 1
        pair = gaussian_blur2d(pair, (reach, reach), (sigma, sigma))
    size = round(SIDE * rng.uniform(SMALLEST, LARGEST) / GRAIN) * GRAIN
    pair = F.interpolate(pair, (size, size), mode="bilinear", antialias=True)
    if rng.random() < COMPRESSED:
        # straight through: what JPEG gives, as if it had changed nothing
        quality = jpeg.Config(quality=rng.randint(60, 95))
        given = jpeg.purify(list(pair.detach()), None, quality, rng=torch.Generator())
        pair = pair + (torch.stack(given) - pair.detach())
    return pair


def moved(coder: Encoder, pair: Tensor) -> Tensor:
    """How far mean and log variance of the second half lie from their partners', of each photo.

    Mean squared differences, added up, as in `pid`; the latent's alone without a posterior.
    """
    first, second = pair.chunk(2)
    with torch.no_grad():
        clean = latents.mean_and_log_variance(coder.vae, coder.moments(first.detach()))
    changed = latents.mean_and_log_variance(coder.vae, coder.moments(second))
    apart = [(a - b).square().mean((1, 2, 3)) for a, b in zip(changed, clean, strict=True)]
    return torch.stack(apart).sum(0)


def train(args: argparse.Namespace) -> None:
    """Learn one pattern, or go on with it."""
    files = photo_files(args.photos, held_out=False)
    coders = {name: autoencoders.load(name, "cpu") for name in set(ENCODERS)}
    path = args.work / f"pattern-{args.pattern}.safetensors"
    kept = read_tensors(path) or {}
    side = protector.TILE
    signs = torch.randint(2, (3, side, side), generator=torch.Generator().manual_seed(args.pattern))
    pattern = kept.get("pattern", signs.float() - 0.5)
    running = kept.get("running", torch.zeros_like(pattern))
    first, seconds = int(kept.get("step", 0)), float(kept.get("seconds", 0.0))
    told: dict[str, float] = {}
    for step in range(first, args.steps):
        begun = time.process_time()
        rng = random.Random(f"{args.pattern} {step}")
        name = ENCODERS[step % len(ENCODERS)]
        x = to_unit(np.stack([square(rng.choice(files), rng) for _ in range(BATCH)]))
        leaf = pattern.clone().requires_grad_(True)
        added = [
            protector.tiled(leaf, SIDE, SIDE, (rng.randrange(side), rng.randrange(side))) for _ in x
        ]
        changed = (x + BUDGET * torch.stack(added)).clamp(0, 1)
        far = moved(coders[name], shown(torch.cat([x, changed]), rng))
        (way,) = torch.autograd.grad((far + FLOOR).log().mean(), leaf)
        running = MOMENTUM * running + way / way.abs().mean()
        rate = LAST_STEP + (STEP - LAST_STEP) * (1 - step / args.steps)
        pattern = (pattern + rate * running.sign()).clamp(-1, 1)
        told[name] = 0.8 * told.get(name, far.mean().item()) + 0.2 * far.mean().item()
        seconds += time.process_time() - begun
        if (step + 1) % KEEP == 0 or step + 1 == args.steps:
            done = {"step": torch.tensor(step + 1), "steps": torch.tensor(args.steps)}
            done["seconds"] = torch.tensor(seconds)
            write_tensors(path, {"pattern": pattern, "running": running} | done, checksum=True)
            print(step + 1, {k: round(v, 3) for k, v in told.items()}, flush=True)


def assemble(work: Path, out: Path) -> None:
    """Write the learned patterns into one folder; `assemble.py` reads the record of them."""
    found = sorted(work.glob("pattern-*.safetensors"))
    kept = [read_tensors(path) or {} for path in found]
    if not found or not all(kept):
        raise SystemExit(f"{work} holds no patterns, or a damaged one.")
    protector.save(torch.stack([k["pattern"] for k in kept]), out)
    about = {
        "step": sum(int(k["step"]) for k in kept),
        "steps": sum(int(k["steps"]) for k in kept),
        "lr": STEP,
        "cpu_seconds": round(sum(float(k["seconds"]) for k in kept)),
    }
    (work / "protector").mkdir(exist_ok=True)
    (work / "protector" / "record.json").write_text(json.dumps(about, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--pattern", type=int, default=0, help="which one, 0, 1, ...")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, help="write what was learned into this folder")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.out is None:
        train(args)
    else:
        assemble(args.work, args.out)


if __name__ == "__main__":
    main()
