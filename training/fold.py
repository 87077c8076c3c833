"""An encoder and a decoder, trained apart in scaled latents, as one AutoencoderKL that speaks
Stable Diffusion's raw latents."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import torch
from data import load_index, to_unit
from diffusers import AutoencoderKL, AutoencoderTiny
from numpy.lib.format import open_memmap
from safetensors.torch import load_file
from torch import Tensor
from vae import build_kl, build_small

SCALE = 0.18215  # Stable Diffusion's scaling factor: scaled latents = SCALE * raw latents
POSTERIOR = 0.02  # mean standard deviation of the posterior, in scaled latents


def trained(folder: Path) -> dict[str, Tensor] | None:
    """The newest weights of one training, averaged ones first; None where there is no
    checkpoint."""
    path = folder / "state.safetensors"
    if not path.exists():
        return None
    saved = load_file(path)
    kind = "ema." if any(k.startswith("ema.") for k in saved) else "model."
    return {k.removeprefix(kind): v for k, v in saved.items() if k.startswith(kind)}


def some_views(work: Path) -> Tensor:
    """Sixty training photos in [-1, 1]."""
    rows = [i for i, r in enumerate(load_index(work)) if not r["held_out"]][::128]
    return to_unit(open_memmap(work / "views.npy", "r")[rows, 0]) * 2 - 1


@torch.no_grad()
def fold(vae: AutoencoderKL, shift: float) -> None:
    """Put the scaling factor, and `shift` for the log-variance, into the two 1 x 1 convolutions."""
    eye = torch.eye(4)[:, :, None, None]
    inner, outer = vae.quant_conv, vae.post_quant_conv
    for parameter in (*inner.parameters(), *outer.parameters()):
        parameter.zero_()
    inner.weight[:4, :4], inner.weight[4:, 4:] = eye / SCALE, eye
    inner.bias[4:] = shift - 2 * math.log(SCALE)
    outer.weight.copy_(eye * SCALE)


@torch.no_grad()
def check_latents(vae: AutoencoderKL, x: Tensor, z: Tensor) -> None:
    """Print how far bf16 weights move the scaled posterior mean from the trained net's latents;
    stop the program beyond 2 %."""
    posterior = copy.deepcopy(vae).float().encode(x).latent_dist
    error = ((posterior.mean * SCALE - z).norm() / z.norm()).item()
    print(
        f"latents: relative error of bf16 weights {error:.4f}; "
        f"mean posterior deviation {posterior.std.mean() * SCALE:.4f}"
    )
    if error > 0.02:
        raise SystemExit(
            "The folded autoencoder's latents differ from the trained encoder's by more than 2 %."
        )


def read_vae(work: Path, name: str) -> AutoencoderKL | AutoencoderTiny | None:
    """The autoencoder with encoder and decoder put together, in bf16; None if one of them was not
    trained yet."""
    encoder, decoder = (trained(work / f"{part}-{name}") for part in ("encoder", "decoder"))
    if encoder is None or decoder is None:
        return None
    vae = build_kl() if name == "tiny" else build_small()
    vae.encoder.load_state_dict(encoder)
    vae.decoder.load_state_dict(decoder)
    if isinstance(vae, AutoencoderTiny):
        return vae.bfloat16()
    x = some_views(work)
    with torch.no_grad():
        z, log_variance = vae.encoder(x).chunk(2, dim=1)
    vae.bfloat16()
    # 0.18215 and its inverse have no near neighbour in bf16, and these 92 numbers weigh nothing:
    # they stay in fp32
    vae.quant_conv.float()
    vae.post_quant_conv.float()
    fold(vae, 2 * math.log(POSTERIOR / (0.5 * log_variance).exp().mean().item()))
    check_latents(vae, x, z)
    return vae
