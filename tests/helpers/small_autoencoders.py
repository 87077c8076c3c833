"""A small random autoencoder of every class that photos can be encoded by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

KL = {
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [8, 16],
    "layers_per_block": 1,
    "norm_num_groups": 4,
}
VIDEO = {
    "base_dim": 4,
    "z_dim": 4,
    "dim_mult": [1, 1, 1, 1],
    "num_res_blocks": 1,
    "latents_mean": [-0.75, 0.5, 0.25, 1.0],
    "latents_std": [2.5, 1.25, 0.5, 2.0],
}
DC = {
    "latent_channels": 4,
    "attention_head_dim": 4,
    "encoder_block_out_channels": [8, 8, 16],
    "decoder_block_out_channels": [8, 8, 16],
    "encoder_layers_per_block": [1, 1, 1],
    "decoder_layers_per_block": [1, 1, 1],
    "encoder_qkv_multiscales": [[], [], []],
    "decoder_qkv_multiscales": [[], [], []],
    "scaling_factor": 0.41407,
}
TINY = {
    "encoder_block_out_channels": [4, 4, 4],
    "decoder_block_out_channels": [4, 4, 4],
    "num_encoder_blocks": [1, 1, 1],
    "num_decoder_blocks": [1, 1, 1],
}
# name -> class, what it is made of, pixels to a scaled latent, channels of scaled latents
KINDS: dict[str, tuple[str, dict[str, Any], int, int]] = {
    "sd": ("AutoencoderKL", KL, 2, 4),
    "sd3": (
        "AutoencoderKL",
        KL | {"latent_channels": 6, "scaling_factor": 1.5305, "shift_factor": 0.0609},
        2,
        6,
    ),
    "playground": (
        "AutoencoderKL",
        KL | {"latents_mean": [-1.6, 1.1, 2.8, 0.9], "latents_std": [8.4, 6.0, 5.3, 4.3]},
        2,
        4,
    ),
    "flux2": ("AutoencoderKLFlux2", KL | {"latent_channels": 4}, 4, 16),
    "qwen": ("AutoencoderKLQwenImage", VIDEO, 8, 4),
    "wan": ("AutoencoderKLWan", VIDEO, 8, 4),
    "sana": ("AutoencoderDC", DC, 4, 4),
    "tiny": ("AutoencoderTiny", TINY | {"latent_channels": 4}, 4, 4),
    "tiny-shifted": ("AutoencoderTiny", TINY | {"scaling_factor": 1.5, "shift_factor": 0.1}, 4, 4),
}


def make(name: str) -> Any:
    """Return a frozen autoencoder; the same weights whenever it is asked for."""
    import diffusers

    kind, settings, *_ = KINDS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # noqa: TID251 - layers draw from the global one
        vae = getattr(diffusers, kind)(**settings).eval().requires_grad_(False)
        if kind == "AutoencoderKLFlux2":  # fresh statistics would change nothing
            vae.bn.running_mean.normal_()
            vae.bn.running_var.uniform_(0.5, 2)
    return vae


def save(name: str, folder: Path) -> Path:
    """Write it as diffusers does."""
    make(name).save_pretrained(folder)
    return folder
