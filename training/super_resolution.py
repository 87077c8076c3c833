"""The stand-in for Real-ESRGAN: a small network that gives about what it gives, with a gradient.

A pair is a picture as small as `codesr` makes photos, and what Real-ESRGAN (extra `restore`) draws
of it. Two in three carry what may be left of a perturbation within 11/255: signs or normal numbers,
fine or coarse. L1 on crops.

Run: python training/super_resolution.py --photos PHOTOS --work WORK
     python training/assemble.py --work WORK --out src/cloakwork/assets   (the manifest)
     (again after an interruption: it goes on)
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
import torch.nn.functional as F
from data import photo_files
from fold import trained
from loop import Run
from torch import Tensor

from cloakwork.models import super_resolution, upscalers
from cloakwork.models.super_resolution import FACTOR, Enlarger
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float, lanczos

PAIRS, EVERY = 600, 50  # pairs; so many are written at once
SHARES = (0.16, 0.28)  # of a photo's size
BUDGET = 11 / 255
SIDE = 24  # of a crop, before it is enlarged
BATCH = 16
WEIGHTS = {"Faces": 6.0, "Faces_easy": 12.0}  # people are one in twenty photos
HELD_OUT = 60  # the last pairs


def perturbed(small: Tensor, rng: random.Random, noise: torch.Generator) -> Tensor:
    """A picture and what may be left of a perturbation, whose grain is one to three pixels."""
    height, width = small.shape[-2:]
    grain = rng.choice([1, 1, 2, 3])
    drawn = torch.randn(1, 3, -(-height // grain), -(-width // grain), generator=noise)
    change = F.interpolate(drawn, (height, width), mode="bilinear")[0]
    change = change.sign() if rng.random() < 0.5 else change / change.abs().max()
    return (small + rng.uniform(0.2, 1) * BUDGET * change).clamp(0, 1)


def pairs(photos: Path, work: Path) -> list[tuple[Tensor, Tensor]]:
    """Small pictures and enlarged ones, uint8; made once, and kept in WORK."""
    path = work / "super-resolution-pairs.pt"
    made = torch.load(path) if path.exists() else []
    files, rng = photo_files(photos, held_out=False), random.Random(5)
    noise, enlarge = torch.Generator().manual_seed(5), upscalers.load("realesrgan")
    drawn = rng.choices(files, [WEIGHTS.get(f.parent.name, 1.0) for f in files], k=PAIRS)
    for number, file in enumerate(drawn):
        photo, share = as_float(load_photo(file).pixels), rng.uniform(*SHARES)
        height, width = (max(SIDE, round(n * share)) for n in photo.shape[-2:])
        small = lanczos(photo, height, width)
        if number % 3:
            small = perturbed(small, rng, noise)
        if number < len(made):  # the draws alone
            continue
        small = (255 * small).round()
        large = (255 * enlarge(small / 255, noise)).round()
        made.append((small.byte(), large.byte()))
        if len(made) % EVERY == 0:
            torch.save(made, path)
            print(f"{len(made)} of {PAIRS} pairs", flush=True)
    return made


def crop(pair: tuple[Tensor, Tensor], rng: random.Random) -> tuple[Tensor, Tensor]:
    """The same square of both, turned over by chance, in [0, 1]."""
    small, large = (x.float() / 255 for x in pair)
    top, left = (rng.randint(0, n - SIDE) for n in small.shape[-2:])
    small = small[:, top : top + SIDE, left : left + SIDE]
    top, left, side = FACTOR * top, FACTOR * left, FACTOR * SIDE
    large = large[:, top : top + side, left : left + side]
    return (small.flip(-1), large.flip(-1)) if rng.random() < 0.5 else (small, large)


@torch.no_grad()
def error(net: Enlarger, held_out: list[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """Mean absolute error in 1/255 on pictures never trained on, and that of an interpolation."""
    ours, plain = [], []
    for small, large in held_out:
        x, y = small[None].float() / 255, large[None].float() / 255
        ours.append((net(x).clamp(0, 1) - y).abs().mean())
        resized = F.interpolate(x, scale_factor=float(FACTOR), mode="bicubic").clamp(0, 1)
        plain.append((resized - y).abs().mean())
    return 255 * torch.stack(ours).mean().item(), 255 * torch.stack(plain).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--steps", type=int, default=4000, help="length of the schedule")
    parser.add_argument("--lr", type=float, default=2e-3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    made = pairs(args.photos, args.work)
    torch.manual_seed(1)
    net = Enlarger()
    run = Run(
        args.work / "super-resolution",
        net,
        lr=args.lr,
        steps=args.steps,
        minutes=args.minutes,
        ema=0.998,
        muon=True,
    )
    for step in run:
        rng = random.Random(step)
        both = [crop(rng.choice(made[:-HELD_OUT]), rng) for _ in range(BATCH)]
        small, large = (torch.stack(x) for x in zip(*both, strict=True))
        run.descend(F.l1_loss(net(small), large))
    net.load_state_dict(trained(args.work / "super-resolution") or {})
    ours, plain = error(net, made[-HELD_OUT:])
    print(f"mean absolute error in 1/255 on {HELD_OUT} held out: {ours:.2f}; resized: {plain:.2f}")
    super_resolution.save(net)


if __name__ == "__main__":
    main()
