"""The conditional denoiser of `tiny` (or, with --name, of `tiny-b`) on the teacher's cached
latents.

Stable Diffusion's schedule (scaled linear, 1000 steps, epsilon), one caption in ten dropped, EMA,
loss weighted by min(SNR, 5) / SNR (Hang et al., arXiv 2303.09556), which settles small models much
sooner than the plain error.

Run: python training/unet.py --work WORK --minutes 120       (again after an interruption: it goes
on)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from data import captions, load_index, sampling_weights
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from loop import Run, autocast, compiled
from numpy.lib.format import open_memmap
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTokenizer

WIDTHS = {"tiny": (96, 128, 128), "tiny-b": (64, 96, 64)}
LAYERS = {"tiny": 2, "tiny-b": 1}


def build(name: str) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=LAYERS[name],
        block_out_channels=WIDTHS[name],
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=192,
        attention_head_dim=4,
    )


def schedule() -> DDPMScheduler:
    return DDPMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        clip_sample=False,
        steps_offset=1,
    )


class Prompts:
    """Text conditions of every caption, computed once with the frozen text tower: caption -> 77 x
    192."""

    def __init__(self, work: Path, folders: list[str]) -> None:
        from clip import build as build_clip

        tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
        model = build_clip(tokenizer)
        saved = load_file(work / "clip" / "state.safetensors")
        model.load_state_dict(
            {k.removeprefix("model."): v for k, v in saved.items() if k.startswith("model.")},
            strict=False,
        )
        self.tokenizer, self.encoder = tokenizer, model.text_model.eval()
        self.cache: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(self, texts: list[str]) -> Tensor:
        new = sorted({t for t in texts if t not in self.cache})
        if new:
            ids = self.tokenizer(
                new, padding="max_length", truncation=True, return_tensors="pt"
            ).input_ids
            self.cache.update(
                zip(new, self.encoder(input_ids=ids).last_hidden_state.half(), strict=True)
            )
        return torch.stack([self.cache[t] for t in texts]).float()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--name", choices=list(WIDTHS), default="tiny")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument(
        "--steps", type=int, default=24_000, help="length of the learning-rate schedule"
    )
    parser.add_argument("--lr", type=float, default=5e-4)
    args = parser.parse_args()
    index = load_index(args.work)
    latents = open_memmap(args.work / "latents.npy", "r")
    weights = sampling_weights(index)
    prompts = Prompts(args.work, sorted({r["folder"] for r in index}))
    seed = list(WIDTHS).index(args.name)
    torch.manual_seed(seed)
    unet = build(args.name).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    unet.set_attn_processor(
        AttnProcessor()
    )  # flash attention's bf16 backward is four times slower on a CPU
    run = Run(
        args.work / f"unet-{args.name}",
        unet,
        lr=args.lr,
        steps=args.steps,
        minutes=args.minutes,
        ema=0.9995,
    )
    alphas = schedule().alphas_cumprod
    forward = compiled(unet)
    for step in run:
        draw = np.random.default_rng([seed, step])
        rng = torch.Generator().manual_seed(2 * step + seed)
        rows = draw.choice(len(index), args.batch, p=weights)
        views = np.where(
            draw.random(args.batch) < 0.2, 3, draw.integers(0, 3, args.batch)
        )  # one in five is degraded, and says so
        texts = [
            str(draw.choice(captions(index[r]["folder"], index[r]["kinds"][v])))
            for r, v in zip(rows, views, strict=True)
        ]
        texts = ["" if draw.random() < 0.1 else t for t in texts]
        z = torch.from_numpy(latents[rows, views]).float()
        t = torch.randint(0, 1000, (args.batch,), generator=rng)
        noise = torch.randn(z.shape, generator=rng)
        a = alphas[t][:, None, None, None]
        z_t = (a.sqrt() * z + (1 - a).sqrt() * noise).contiguous(memory_format=torch.channels_last)
        c = prompts(texts)
        with autocast():
            error = (forward(z_t, t, c).sample.float() - noise).square().mean((1, 2, 3))
        snr = alphas[t] / (1 - alphas[t])
        run.descend((error * snr.clamp(max=5) / snr).mean())


if __name__ == "__main__":
    main()
