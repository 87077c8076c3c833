"""The autoencoders of `tiny` (AutoencoderKL, Stable Diffusion's topology) and `tiny-b`
(AutoencoderTiny), distilled from TAESD.

Encoder: photo -> the teacher's latents (squared error; for the KL one also a Gaussian
log-likelihood that trains the variance and leaves the mean alone). Decoder: the teacher's latents,
slightly noised -> the teacher's picture (L1, gradient difference, LPIPS), with a smaller L1 to the
photo itself. The teacher's answers are deterministic, so a small net learns them fast and sharp;
the photo keeps it from learning the teacher's mistakes. In its last fifth the decoder sees whole
pictures, every other one a portrait, and half of them by the latents of its own encoder, so that
the two fit together (train the encoder first).

The nets work in scaled latents while they learn; assemble.py folds Stable Diffusion's 0.18215 into
the outermost 1 x 1 layers.

Run: python training/vae.py --work WORK --part encoder --minutes 60        (again after an
interruption: it goes on)
     python training/vae.py --work WORK --part decoder --minutes 60
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from data import PEOPLE, load_index, sampling_weights, to_unit
from diffusers import AutoencoderKL, AutoencoderTiny
from loop import Run, autocast, compiled
from numpy.lib.format import open_memmap
from safetensors.torch import load_file
from torch import Tensor

from cloakwork.models.lpips import load_lpips

WIDTHS = (32, 64, 96, 128)
# Four channels and more a group, as in Stable Diffusion: with one (32 groups) the norm is an
# instance norm, which throws a
# picture's colours and contrast away and leaves droplets
GROUPS = 8
# Shares of a decoder's schedule
# crops of a quarter of the picture, four times as many: more variety a step; then whole pictures
CROPS_UNTIL = 0.8
LPIPS_FROM = 0.3  # it costs time and helps little before the picture is roughly there


def build_kl() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=WIDTHS,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=GROUPS,
        sample_size=128,
        scaling_factor=0.18215,
    )


def build_small() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32),
        num_encoder_blocks=(1, 2, 2, 2),
        num_decoder_blocks=(2, 2, 2, 1),
    )


def encoder_loss(moments: Tensor, z: Tensor) -> Tensor:
    """Squared error of the mean, and for eight channels the likelihood of the (detached) residual
    under the variance."""
    error = (moments[:, :4] - z).square()
    loss = error.mean()
    if moments.shape[1] == 8:
        log_var = moments[:, 4:].clamp(-12, 4)
        loss = loss + 0.02 * (log_var + error.detach() * torch.exp(-log_var)).mean()
    return loss


def gradient_difference(x: Tensor, y: Tensor) -> Tensor:
    dx = (x.diff(dim=-1) - y.diff(dim=-1)).abs().mean()
    return dx + (x.diff(dim=-2) - y.diff(dim=-2)).abs().mean()


def decoder_loss(out: Tensor, picture: Tensor, photo: Tensor, perceptual: bool) -> Tensor:
    loss = (
        (out - picture).abs().mean()
        + 0.5 * (out - photo).abs().mean()
        + 0.5 * gradient_difference(out, picture)
    )
    return loss + 0.5 * load_lpips()(out, picture).mean() if perceptual else loss


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", choices=("tiny", "tiny-b"), default="tiny")
    parser.add_argument("--part", choices=("encoder", "decoder"), required=True)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument(
        "--steps", type=int, default=14_000, help="length of the learning-rate schedule"
    )
    parser.add_argument("--lr", type=float, default=5e-4)
    args = parser.parse_args()
    index = load_index(args.work)
    pixels, latents, decoded = (
        open_memmap(args.work / f"{n}.npy", "r") for n in ("views", "latents", "decoded")
    )
    weights = sampling_weights(index) ** 0.5
    weights /= weights.sum()
    people = np.array(
        [weight * (r["folder"] in PEOPLE) for weight, r in zip(weights, index, strict=True)]
    )
    with_portraits = (weights + people / people.sum()) / 2
    encode = None if args.part == "encoder" else own_encoder(args.work, args.name)
    torch.manual_seed(0)
    vae = build_kl() if args.name == "tiny" else build_small()
    encoding = args.part == "encoder"
    net = vae.encoder if encoding else vae.decoder
    net.to(memory_format=torch.channels_last)
    run = Run(
        args.work / f"{args.part}-{args.name}",
        net,
        lr=args.lr,
        steps=args.steps,
        minutes=args.minutes,
        ema=0.999,
    )
    forward = compiled(net)
    for step in run:
        draw = np.random.default_rng([1, step])
        crop = not encoding and step < CROPS_UNTIL * args.steps
        n = 4 * args.batch if crop else args.batch
        whole = not encoding and not crop
        rows, views = (
            draw.choice(len(index), n, p=with_portraits if whole else weights),
            draw.integers(0, 4 if encoding else 2, n),
        )
        z = latents[rows, views if encoding else 2 * views]
        photo = pixels[rows, views if encoding else 2 * views]
        with autocast():
            if encoding:
                loss = encoder_loss(
                    forward(to_unit(photo) * 2 - 1).float(), torch.from_numpy(z).float()
                )
            else:
                if encode and whole:
                    z[::2] = encode(photo[::2])
                z, photo, picture = cut(z, photo, decoded[rows, views], draw if crop else None)
                # a UNet's latents are never exactly the teacher's: let the decoder see some of that
                noise = 0.05 * torch.randn(z.shape, generator=torch.Generator().manual_seed(step))
                out = forward(
                    (torch.from_numpy(z).float() + noise).contiguous(
                        memory_format=torch.channels_last
                    )
                ).float()
                loss = decoder_loss(
                    out / 2 + 0.5, to_unit(picture), to_unit(photo), step >= LPIPS_FROM * args.steps
                )
        run.descend(loss)


def own_encoder(work: Path, name: str) -> Callable[[np.ndarray], np.ndarray] | None:
    """uint8 photos -> scaled latents (the posterior's mean) by the encoder trained so far; None
    before there is one."""
    path = work / f"encoder-{name}" / "state.safetensors"
    if not path.exists():
        return None
    net = (build_kl() if name == "tiny" else build_small()).encoder
    net.load_state_dict(
        {k.removeprefix("ema."): v for k, v in load_file(path).items() if k.startswith("ema.")}
    )
    net.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def encode(photos: np.ndarray) -> np.ndarray:
        with torch.no_grad(), autocast():
            return net(to_unit(photos) * 2 - 1)[:, :4].float().numpy()

    return encode


def cut(
    z: np.ndarray, photo: np.ndarray, picture: np.ndarray, draw: np.random.Generator | None
) -> tuple[np.ndarray, ...]:
    """The same half-sized square of latents, photos and pictures; all of them without `draw`."""
    if draw is None:
        return z, photo, picture
    y, x = draw.integers(0, 9, 2)
    pixels = np.s_[..., 8 * y : 8 * y + 64, 8 * x : 8 * x + 64]
    return z[..., y : y + 8, x : x + 8], photo[pixels], picture[pixels]


if __name__ == "__main__":
    main()
