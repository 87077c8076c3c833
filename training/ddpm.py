"""The denoiser of pixels that purifiers diffuse photos with: unconditional, on patches of 64 px.

Patches are cut from the photos at their own size, or from a larger square that is shrunk, and
flipped. DDPM's schedule (linear, 1000 steps, epsilon; Ho et al., arXiv 2006.11239), EMA. Half of
the timesteps are drawn from the lowest 300, where purifiers work.

Run: python training/ddpm.py --photos CALTECH101 --work WORK --minutes 90       (again after an
interruption: it goes on)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from data import photo_files
from diffusers import DDPMScheduler, UNet2DModel
from loop import Run, autocast, compiled
from PIL import Image
from torch import Tensor

SIDE = 64  # pixels
LOW = 300  # timesteps


def build() -> UNet2DModel:
    return UNet2DModel(
        sample_size=SIDE,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(32, 64, 128, 160),
        down_block_types=("DownBlock2D", "DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D", "UpBlock2D"),
        norm_num_groups=8,
        attention_head_dim=16,  # 32 groups of one channel would be an instance norm
    )


def schedule() -> DDPMScheduler:
    return DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear", clip_sample=True)


def training_photos(folder: Path) -> list[np.ndarray]:
    """All photos that may be trained on, H x W x 3, in memory (about 1 GB)."""
    files = photo_files(folder, held_out=False)
    photos = [np.asarray(Image.open(f).convert("RGB")) for f in files]
    return [p for p in photos if min(p.shape[:2]) >= SIDE]


def patch(photo: np.ndarray, draw: np.random.Generator) -> Tensor:
    """3 x 64 x 64 in [-1, 1]."""
    most = min(photo.shape[:2])
    side = SIDE if draw.random() < 0.5 else int(draw.integers(SIDE, most + 1))
    top, left = (int(draw.integers(0, n - side + 1)) for n in photo.shape[:2])
    x = (
        torch.from_numpy(photo[top : top + side, left : left + side].copy())
        .permute(2, 0, 1)[None]
        .float()
    )
    x = x if side == SIDE else F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
    return (x.flip(-1) if draw.random() < 0.5 else x)[0] / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument(
        "--steps", type=int, default=16_000, help="length of the learning-rate schedule"
    )
    parser.add_argument("--lr", type=float, default=5e-4)
    args = parser.parse_args()
    photos = training_photos(args.photos)
    torch.manual_seed(0)
    unet = build().to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    run = Run(
        args.work / "ddpm", unet, lr=args.lr, steps=args.steps, minutes=args.minutes, ema=0.999
    )
    alphas, forward = schedule().alphas_cumprod, compiled(unet)
    for step in run:
        draw = np.random.default_rng([7, step])
        rng = torch.Generator().manual_seed(step)
        x = torch.stack([patch(photos[i], draw) for i in draw.integers(0, len(photos), args.batch)])
        t = torch.randint(0, 1000, (args.batch,), generator=rng)
        t[::2] = t[::2] * LOW // 1000
        noise = torch.randn(x.shape, generator=rng)
        a = alphas[t][:, None, None, None]
        x_t = (a.sqrt() * x + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        with autocast():
            run.descend((forward(x_t, t).sample.float() - noise).square().mean())


if __name__ == "__main__":
    main()
