"""The decoder of `tiny-dit`'s autoencoder: latents of our own `sd3` encoder -> the photo.

L1, gradient difference and, later, LPIPS to the photo itself: with 16 channels the latents hold
nearly all of it, so that there is no need of the teacher's picture. The latents carry some noise,
as those of a denoiser do.

Run: python training/dit_decoder.py --photos PHOTOS --model src/cloakwork/assets --work WORK
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from data import photo_files, to_unit
from diffusers import AutoencoderTiny
from encoders import CHANNELS, crop
from loop import Run, autocast
from vae import LPIPS_FROM, decoder_loss

SIZES = (64, 96, 128)  # pixels, in turn
PIXELS = 4 * 128 * 128  # in a step
NOISE = 0.05


def build() -> AutoencoderTiny:
    """The decoder, and the smallest encoder that the class allows."""
    return AutoencoderTiny(
        latent_channels=CHANNELS["sd3"],
        encoder_block_out_channels=(4,) * 4,
        decoder_block_out_channels=(32,) * 4,
        num_encoder_blocks=(1, 1, 1, 1),
        num_decoder_blocks=(3, 3, 2, 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="folder of the embedded models")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--steps", type=int, default=3000, help="length of the schedule")
    parser.add_argument("--lr", type=float, default=5e-3)
    args = parser.parse_args()
    files = photo_files(args.photos, held_out=False)
    vae = AutoencoderTiny.from_pretrained(args.model / "encoders" / "sd3").eval()
    torch.manual_seed(1)
    decoder = build().decoder
    run = Run(
        args.work / "decoder-dit",
        decoder,
        lr=args.lr,
        steps=args.steps,
        minutes=args.minutes,
        ema=0.998,
        muon=True,
    )
    for step in run:
        rng = random.Random(step)
        side = SIZES[step % len(SIZES)]
        chosen = rng.sample(files, round(PIXELS / side**2))
        x = to_unit(np.stack([crop(f, side, rng) for f in chosen]))
        with autocast():
            with torch.no_grad():
                z = vae.encode(2 * x - 1).latents.float()
            noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(step))
            out = decoder(z + NOISE * noise).float() / 2 + 0.5
            loss = decoder_loss(out, x, x, step >= LPIPS_FROM * args.steps)
        run.descend(loss)


if __name__ == "__main__":
    main()
