"""TAESD's own files, and TAEF2's blocks with a global part."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from cloakwork.models import autoencoders, latents, taesd

C = 64  # channels of every TAESD
Layers = dict[str, Tensor]


def conv(rng: torch.Generator, out: int, of: int, *, bias: bool) -> Layers:
    weight = torch.randn(out, of, 3, 3, generator=rng) / (3 * of**0.5)
    return {"weight": weight} | ({"bias": 0.1 * torch.randn(out, generator=rng)} if bias else {})


def under(name: str, layers: Layers) -> Layers:
    return {f"{name}.{k}": v for k, v in layers.items()}


def block(rng: torch.Generator, *, pooled: bool) -> Layers:
    layers = {}
    for n in (0, 2, 4):
        layers |= under(f"conv.{n}", conv(rng, C, C, bias=True))
    if pooled:
        wide = 4 * C
        layers["pool.0.weight"] = torch.randn(wide, C, 1, 1, generator=rng) / C**0.5
        layers["pool.1.weight"] = 1 + 0.1 * torch.randn(wide, generator=rng)
        layers["pool.1.bias"] = 0.1 * torch.randn(wide, generator=rng)
        layers["pool.3.weight"] = torch.randn(C, wide, 1, 1, generator=rng) / wide**0.5
    return layers


def taef2(rng: torch.Generator) -> tuple[Layers, Layers]:
    """Random layers of TAEF2, by the numbers of its author: encoder and decoder."""
    encoder = under("0", conv(rng, C, 3, bias=True)) | under("14", conv(rng, 32, C, bias=True))
    for n in (2, 6, 10):
        encoder |= under(str(n), conv(rng, C, C, bias=False))
    for n in (1, 3, 4, 5, 7, 8, 9, 11, 12, 13):
        encoder |= under(str(n), block(rng, pooled=n > 10))
    decoder = under("1", conv(rng, C, 32, bias=True)) | under("19", conv(rng, 3, C, bias=True))
    for n in (7, 12, 17):
        decoder |= under(str(n), conv(rng, C, C, bias=False))
    for n in (3, 4, 5, 8, 9, 10, 13, 14, 15, 18):
        decoder |= under(str(n), block(rng, pooled=n < 6))
    return encoder, decoder


def run_conv(x: Tensor, layers: Layers, name: str, stride: int = 1) -> Tensor:
    weight = layers[f"{name}.weight"]
    return F.conv2d(x, weight, layers.get(f"{name}.bias"), stride=stride, padding=1)


def run_block(x: Tensor, layers: Layers, n: int) -> Tensor:
    if f"{n}.pool.0.weight" in layers:
        wide = torch.einsum("oc,nchw->nohw", layers[f"{n}.pool.0.weight"][:, :, 0, 0], x)
        by_group = wide.reshape(len(x), 4, -1)
        mean, var = by_group.mean(2, keepdim=True), by_group.var(2, keepdim=True, correction=0)
        wide = ((by_group - mean) / (var + 1e-5).sqrt()).reshape(wide.shape)
        wide = wide * layers[f"{n}.pool.1.weight"][:, None, None]
        wide = (wide + layers[f"{n}.pool.1.bias"][:, None, None]).clamp(min=0)
        x = x + torch.einsum("oc,nchw->nohw", layers[f"{n}.pool.3.weight"][:, :, 0, 0], wide)
    y = run_conv(x, layers, f"{n}.conv.0").relu()
    y = run_conv(y, layers, f"{n}.conv.2").relu()
    return (run_conv(y, layers, f"{n}.conv.4") + x).relu()


def run_encoder(x: Tensor, layers: Layers) -> Tensor:
    x = run_block(run_conv(x, layers, "0"), layers, 1)
    for down in (2, 6, 10):
        x = run_conv(x, layers, str(down), stride=2)
        for n in range(down + 1, down + 4):
            x = run_block(x, layers, n)
    return run_conv(x, layers, "14")


def run_decoder(z: Tensor, layers: Layers) -> Tensor:
    x = run_conv(3 * (z / 3).tanh(), layers, "1").relu()
    for first, last in ((3, 6), (8, 11), (13, 16)):
        for n in range(first, last):
            x = run_block(x, layers, n)
        x = run_conv(F.interpolate(x, scale_factor=2), layers, str(last + 1))
    return run_conv(run_block(x, layers, 18), layers, "19")


@torch.no_grad()
def test_taef2_against_its_layers_stated_plainly(tmp_path: Path, rng: torch.Generator) -> None:
    encoder, decoder = taef2(rng)
    save_file(encoder, tmp_path / "taef2_encoder.safetensors")
    save_file(decoder, tmp_path / "taef2_decoder.safetensors")
    found = autoencoders.load(str(tmp_path), "cpu")
    x = torch.rand(2, 3, 32, 32, generator=rng)
    z = found.encode(x)
    assert z.shape == (2, 32, 4, 4) and found.scale == 8
    torch.testing.assert_close(z, run_encoder(x, encoder), rtol=1e-4, atol=1e-5)
    pictures = run_decoder(z, decoder).clamp(0, 1)
    torch.testing.assert_close(latents.decode(found.vae, z), pictures, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("more", ["taesd_encoder.safetensors", "config.json"])
def test_a_folder_of_two_encoders_or_of_diffusers_is_not_taesds(tmp_path: Path, more: str) -> None:
    for name in ("taesd3_encoder.safetensors", "taesd3_decoder.safetensors", more):
        (tmp_path / name).touch()
    assert not taesd.find_files(tmp_path)
