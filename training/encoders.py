"""Encoders into the latent spaces of whole families, each distilled from the family's TAESD.

    sd     Stable Diffusion 1 and 2, 4 channels    sd3    Stable Diffusion 3, 16 channels
    flux2  FLUX.2, 32 channels

The teacher answers on the fly. A step has pictures of one size; they are photos made smaller
(sharp) or larger (smooth), and a share of them carries the noise of a protection, because what is
later asked of these encoders is where such noise leads. In the first part of the schedule the
student also learns what the teacher's stages give.

Run: python training/encoders.py --photos PHOTOS --teachers SHARED/weights --work WORK --name sd3
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data import photo_files, to_unit
from diffusers import AutoencoderTiny
from loop import Run, autocast
from PIL import Image
from teacher import Teacher
from torch import Tensor, nn

TEACHERS = {"sd": "taesd", "sd3": "taesd3", "flux2": "taef2"}
CHANNELS = {"sd": 4, "sd3": 16, "flux2": 32}
BLOCKS = (0, 2, 3, 4)  # a block at full size would cost more than all the others
SIZES = (96, 128, 96, 128, 192, 256)  # pixels, in turn
PIXELS = 2 * 96 * 96  # in a step, but for the larger pictures
PASSES = 4  # over the same pictures before the teacher answers for new ones
TILED = 0.3  # share of pictures put together of four photos, which so are twice as sharp
NOISY = 0.25  # share of pictures
NOISE = 12 / 255
HINTS_UNTIL = 0.6  # share of the schedule
HINTS = 0.3  # their weight at first
Batch = tuple[Tensor, list[Tensor]]  # pictures, and what the teacher's stages give for them


def build(name: str) -> AutoencoderTiny:
    """The encoder, and the smallest decoder that the class allows: nobody trains it."""
    return AutoencoderTiny(
        latent_channels=CHANNELS[name],
        encoder_block_out_channels=(64,) * 4,
        decoder_block_out_channels=(4,) * 4,
        num_encoder_blocks=BLOCKS,
        num_decoder_blocks=(1, 1, 1, 1),
    )


def crop(path: Path, side: int, rng: random.Random) -> np.ndarray:
    """A random square of a photo brought to a random size, 3 x side x side uint8."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    scale = side * 1.6 ** rng.random() / min(image.size)
    wide = side / scale
    left, top = (rng.random() * (length - wide) for length in image.size)
    image = image.resize(
        (side, side), Image.Resampling.LANCZOS, (left, top, left + wide, top + wide)
    )
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image).transpose(2, 0, 1)


def picture(files: list[Path], side: int, rng: random.Random) -> np.ndarray:
    """A square of one photo, or of four."""
    if rng.random() >= TILED:
        return crop(rng.choice(files), side, rng)
    a, b, c, d = (crop(file, side // 2, rng) for file in rng.sample(files, 4))
    return np.concatenate([np.concatenate([a, b], 1), np.concatenate([c, d], 1)], 2)


def disturb(x: Tensor, rng: torch.Generator) -> Tensor:
    """Some pictures with noise as protections make it: within a bound, fine or coarse."""
    n, side = len(x), x.shape[-1]
    grain = side // int(2 ** torch.randint(0, 4, (), generator=rng))
    noise = torch.randn(n, 3, grain, grain, generator=rng).sign()
    noise = F.interpolate(noise, size=(side, side), mode="bilinear")
    strength = NOISE * torch.rand(n, 1, 1, 1, generator=rng)
    chosen = torch.rand(n, 1, 1, 1, generator=rng) < NOISY
    return (x + noise * strength * chosen).clamp(0, 1)


def features(encoder: nn.Module, x: Tensor) -> list[Tensor]:
    """What the student's stages give, as `Teacher.features`; pictures in [0, 1]."""
    ends = np.cumsum([1 + blocks for blocks in BLOCKS])
    found = []
    for i, layer in enumerate(encoder.layers, 1):  # pyright: ignore[reportArgumentType]
        x = layer(x)
        if i in ends[1:] or i == ends[-1] + 1:
            found.append(x)
    return found


def taught(teacher: Teacher, files: list[Path], side: int, number: int) -> Batch:
    """Batch `number`, n x 3 x side x side in [0, 1], with what the teacher gives for it."""
    rng = random.Random(number)
    n = max(1, round(PIXELS / side**2))
    x = to_unit(np.stack([picture(files, side, rng) for _ in range(n)]))
    x = disturb(x, torch.Generator().manual_seed(number))
    with torch.no_grad(), autocast():
        return x, teacher.features(x)


def lesson(teacher: Teacher, files: list[Path], part: int) -> list[Batch]:
    """One batch of each size."""
    first = len(SIZES) * part
    return [taught(teacher, files, side, first + i) for i, side in enumerate(SIZES)]


def spread(batches: list[Batch]) -> list[Tensor]:
    """The variance of what each stage gives, about each channel's mean: errors are told in it."""
    stages = zip(*(targets for _, targets in batches), strict=True)
    flat = ([t.float().transpose(0, 1).flatten(1) for t in stage] for stage in stages)
    return [torch.cat(stage, 1).var(1).mean() for stage in flat]


def train(name: str, args: argparse.Namespace) -> None:
    """Teach one encoder, or go on with it."""
    files = photo_files(args.photos, held_out=False)
    teacher = Teacher(args.teachers / TEACHERS[name])
    torch.manual_seed(0)
    encoder = build(name).encoder
    run = Run(
        args.work / f"encoder-{name}",
        encoder,
        lr=args.lr,
        steps=args.steps,
        minutes=args.minutes,
        ema=0.99,
        warmup=20,
        muon=True,
        hurried=True,
    )
    batches: list[Batch] = []
    scale = spread(lesson(teacher, files, 0))
    for step in run:
        part, place = divmod(step, len(SIZES) * PASSES)
        if place == 0 or not batches:
            batches = lesson(teacher, files, part)
        order = np.random.default_rng([part, place // len(SIZES)]).permutation(len(SIZES))
        x, targets = batches[order[place % len(SIZES)]]
        with autocast():
            answers = features(encoder, x)
        *stages, error = (
            (a.float() - t.float()).square().mean() / s
            for a, t, s in zip(answers, targets, scale, strict=True)
        )
        hints = HINTS * max(0.0, 1 - run.share / HINTS_UNTIL)
        run.descend(error + hints * torch.stack(stages).sum())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--teachers", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", choices=list(TEACHERS), nargs="+", required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--steps", type=int, default=1300, help="length of the schedule")
    parser.add_argument("--lr", type=float, default=4e-3)
    args = parser.parse_args()
    for name in args.name:
        train(name, args)


if __name__ == "__main__":
    main()
