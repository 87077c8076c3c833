"""Latents of every class of autoencoder are what diffusers' own pipelines make of pictures."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import small_autoencoders
from helpers.small_autoencoders import KINDS
from torch import Tensor

from cloakwork.models import latents
from cloakwork.types import Images

SIDE = 32


@pytest.fixture(scope="module")
def x() -> Images:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


def by_channel(values: list[float]) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)


def as_pipelines_do(vae: Any, x: Images) -> Tensor:
    """Scaled latents, as each class's pipelines in diffusers say them."""
    config, kind = vae.config, type(vae).__name__
    if kind in ("AutoencoderKLQwenImage", "AutoencoderKLWan"):
        z = vae.encode((2 * x - 1).unsqueeze(2)).latent_dist.mode().squeeze(2)
        return (z - by_channel(config.latents_mean)) / by_channel(config.latents_std)
    if kind == "AutoencoderDC":
        return vae.encode(2 * x - 1).latent * config.scaling_factor
    if kind == "AutoencoderTiny":
        return (vae.encode(2 * x - 1).latents - config.shift_factor) * config.scaling_factor
    z = vae.encode(2 * x - 1).latent_dist.mode()
    if kind == "AutoencoderKLFlux2":
        from diffusers import Flux2Pipeline

        z = Flux2Pipeline._patchify_latents(z)
        std = torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1) + config.batch_norm_eps)
        return (z - vae.bn.running_mean.view(1, -1, 1, 1)) / std
    if config.latents_mean:
        mean, std = by_channel(config.latents_mean), by_channel(config.latents_std)
        return (z - mean) * config.scaling_factor / std
    return (z - (config.shift_factor or 0)) * config.scaling_factor


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_latents_are_those_of_the_pipelines(name: str, x: Images) -> None:
    vae, (_, _, scale, channels) = small_autoencoders.make(name), KINDS[name]
    z = latents.encode(vae, x)
    torch.testing.assert_close(z, as_pipelines_do(vae, x), rtol=1e-5, atol=1e-6)
    assert (latents.scale(vae), latents.channels(vae)) == (scale, channels)
    assert z.shape == (2, channels, SIDE // scale, SIDE // scale)


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_decoding_scaled_latents_decodes_the_autoencoders_own(name: str, x: Images) -> None:
    vae = small_autoencoders.make(name)
    said = latents.moments(vae, x)
    of = latents.posterior(vae, said)
    own = said if of is None else of.mode()
    videos = type(vae).__name__ in ("AutoencoderKLQwenImage", "AutoencoderKLWan")
    back = vae.decode(own.unsqueeze(2)).sample.squeeze(2) if videos else vae.decode(own).sample
    decoded = latents.decode(vae, latents.from_moments(vae, said))
    torch.testing.assert_close(decoded, (back / 2 + 0.5).clamp(0, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["sd3", "flux2", "qwen"])
@torch.no_grad()
def test_a_sample_of_the_posterior_is_scaled_too(name: str, x: Images) -> None:
    vae = small_autoencoders.make(name)
    of = latents.posterior(vae, latents.moments(vae, x))
    assert of is not None
    mean = latents.encode(vae, x)
    sample = latents.encode(vae, x, torch.ones)
    apart = latents.from_moments(vae, torch.cat([of.mean + of.std, of.logvar], 1)) - mean
    torch.testing.assert_close(sample - mean, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", KINDS)
def test_a_gradient_comes_back_to_the_pixels(name: str, x: Images) -> None:
    vae, leaf = small_autoencoders.make(name), x.clone().requires_grad_(True)
    latents.encode(vae, leaf).square().sum().backward()
    assert leaf.grad is not None and torch.isfinite(leaf.grad).all() and leaf.grad.any()
