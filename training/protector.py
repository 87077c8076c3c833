"""The one-pass protector: a bank of patterns and what mixes them, trained through encoders.

A step takes squares of photos, perturbs them within the budget, shows original and perturbed as a
loader would (another size, now and then blurred or compressed), and asks each encoder how far its
latent has moved, in shares of the latent's spread. The loss is minus the mean logarithm: so each
encoder counts alike, however far it is moved already. Never at the photo's own size alone, where
stripes of one pixel's width would win, which any resize removes.

Run: python training/protector.py --photos PHOTOS --work WORK --encoders tiny tiny-b sd3:tiny
     python training/protector.py --work WORK --out src/cloakwork/assets/protector
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data import photo_files, to_unit
from fold import trained
from loop import Run
from PIL import Image
from torch import Tensor

from cloakwork.models import autoencoders, protector
from cloakwork.models.encoder import Encoder
from cloakwork.purifiers import jpeg

SIDE = 192  # pixels of a square
BATCH = 4
BUDGET = 11 / 255
SMALLEST, LARGEST = 0.4, 1.3  # of a loader's picture against the square
GRAIN = 16  # pixels that its sides are multiples of
BLURRED, COMPRESSED = 0.3, 0.3  # shares of steps
FLOOR = 0.05  # displacement, below which the logarithm falls no further


def square(path: Path, rng: random.Random) -> np.ndarray:
    """A random square of a photo, 3 x SIDE x SIDE uint8; small photos are enlarged to hold one."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    scale = max(SIDE / min(image.size), rng.uniform(0.6, 1.0))
    size = tuple(max(SIDE, round(scale * s)) for s in image.size)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = (rng.randint(0, s - SIDE) for s in size)
    x = np.asarray(image.crop((left, top, left + SIDE, top + SIDE))).transpose(2, 0, 1)
    return x[:, :, ::-1].copy() if rng.random() < 0.5 else x


def shown(pair: Tensor, rng: random.Random) -> Tensor:
    """Originals and perturbed ones as one loader shows them, 2n x 3 x s x s."""
    if rng.random() < BLURRED:
        pair = blurred(pair, rng.uniform(0.3, 1.2))
    size = round(SIDE * rng.uniform(SMALLEST, LARGEST) / GRAIN) * GRAIN
    pair = F.interpolate(pair, (size, size), mode="bilinear", antialias=True)
    if rng.random() < COMPRESSED:
        # straight through: what JPEG gives, as if it had changed nothing
        quality = jpeg.Config(quality=rng.randint(60, 95))
        given = jpeg.purify(list(pair.detach()), None, quality, rng=torch.Generator())
        pair = pair + (torch.stack(given) - pair.detach())
    return pair


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, sigma in pixels."""
    reach = max(1, round(3 * sigma))
    at = torch.arange(-reach, reach + 1.0)
    kernel = torch.softmax(-(at**2) / (2 * sigma**2), 0)
    for shape in ((1, -1), (-1, 1)):
        weight = kernel.view(1, 1, *shape).expand(3, -1, -1, -1)
        pad = (reach, reach, 0, 0) if shape == (1, -1) else (0, 0, reach, reach)
        x = F.conv2d(F.pad(x, pad, mode="reflect"), weight, groups=3)
    return x


def moved(coder: Encoder, pair: Tensor) -> Tensor:
    """How far each latent of the second half lies from its partner's, in shares of the spread."""
    first, second = pair.chunk(2)
    with torch.autocast("cpu", torch.bfloat16):
        with torch.no_grad():
            clean = coder.encode(first.detach()).float()
        changed = coder.encode(second).float()
    spread = clean.std((2, 3), keepdim=True).square().mean((1, 2, 3)).sqrt()
    return (changed - clean).square().mean((1, 2, 3)).sqrt() / spread


def train(args: argparse.Namespace) -> None:
    """Train, or go on with it."""
    files = photo_files(args.photos, held_out=False)
    coders = {name: autoencoders.load(name, "cpu") for name in args.encoders}
    net = protector.Protector(torch.Generator().manual_seed(0))
    run = Run(
        args.work / "protector",
        net,
        lr=args.lr,
        steps=args.steps,
        minutes=args.minutes,
        ema=0.99,
        warmup=20,
        hurried=True,
    )
    last: dict[str, float] = {}
    for step in run:
        rng = random.Random(step)
        x = to_unit(np.stack([square(rng.choice(files), rng) for _ in range(BATCH)]))
        places = [(rng.randrange(protector.TILE), rng.randrange(protector.TILE)) for _ in x]
        changed = (x + BUDGET * net(x, places)).clamp(0, 1)
        # two encoders a step, in turn
        names = [args.encoders[(2 * step + i) % len(coders)] for i in range(min(2, len(coders)))]
        loss = torch.zeros(())
        for name in names:
            far = moved(coders[name], shown(torch.cat([x, changed]), rng))
            last[name] = 0.95 * last.get(name, far.mean().item()) + 0.05 * far.mean().item()
            loss = loss - (far + FLOOR).log().mean() / len(names)
        run.descend(loss)
        if step % 100 == 0:
            print(step, {k: round(v, 3) for k, v in last.items()}, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--encoders", nargs="+", default=["tiny", "tiny-b"], help="as --surrogate")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, default=6000, help="length of the schedule")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--out", type=Path, help="write what was trained into this folder")
    args = parser.parse_args()
    if args.out is None:
        return train(args)
    weights = trained(args.work / "protector")
    if weights is None:
        raise SystemExit(f"{args.work} holds no checkpoint of the protector.")
    net = protector.Protector()
    net.load_state_dict(weights)
    protector.save(net, args.out)
    record = json.loads((args.work / "protector" / "record.json").read_text())
    about = {key: record[key] for key in ("step", "steps", "cpu_seconds", "lr")}
    (args.out / "training.json").write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
