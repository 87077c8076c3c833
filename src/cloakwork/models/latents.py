"""Latents of every autoencoder: what a denoiser sees of pictures, and the way back.

An autoencoder's own numbers are shifted, scaled or normalised before a denoiser sees them, and each
class says so in its own way:

| class | latents |
|---|---|
| AutoencoderKL, AutoencoderTiny | (z - shift_factor) scaling_factor |
| AutoencoderKL with latents_mean | (z - latents_mean) scaling_factor / latents_std |
| AutoencoderKLQwenImage, AutoencoderKLWan | (z - latents_mean) / latents_std, of one frame |
| AutoencoderKLFlux2 | 2 x 2 latents packed into channels, (z - mean) / std of its batch norm |
| AutoencoderDC | z scaling_factor |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cloakwork.types import Images

# shape -> standard normal noise
Noise = Callable[[Sequence[int]], Tensor]
PATCH = 2  # side of what AutoencoderKLFlux2's pipelines pack into channels, latents


def encode(vae: Any, x: Images, noise: Noise | None = None) -> Tensor:
    """Encode pictures to an autoencoder's scaled latents.

    Args:
        vae: an autoencoder of diffusers, of a class named above.
        x: n x 3 x S x S in [0, 1].
        noise: shape -> standard normal noise, for a sample of the posterior; None gives its mean.

    Returns:
        n x c x S/s x S/s, with s as `scale` and c as `channels` say.
    """
    return from_moments(vae, moments(vae, x), noise)


def moments(vae: Any, x: Images) -> Tensor:
    """Return what an autoencoder says of pictures (n x 3 x S x S in [0, 1]), in its own units.

    Returns:
        Mean and log variance of the posterior, n x 2c x S/8 x S/8; the latents, n x c x S/8 x S/8,
        of a class that has no posterior (AutoencoderTiny, AutoencoderDC, there S/32).
    """
    x = 2 * x - 1
    encoded = vae.encode(x[:, :, None] if _of_videos(vae) else x)
    for name in ("latents", "latent"):
        if hasattr(encoded, name):
            return getattr(encoded, name)
    said = encoded.latent_dist.parameters
    return said[:, :, 0] if _of_videos(vae) else said


def posterior(vae: Any, moments: Tensor) -> Any | None:
    """Return the posterior with these moments, as diffusers has it; None without one."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    has_one = moments.shape[1] == 2 * _own_channels(vae)
    return DiagonalGaussianDistribution(moments) if has_one else None


def mean_and_log_variance(vae: Any, moments: Tensor) -> list[Tensor]:
    """Return mean and log variance of the posterior, each n x c x h x w, in the autoencoder's own
    units; without a posterior, the latent alone.
    """
    of = posterior(vae, moments)
    return [moments.float()] if of is None else [of.mean.float(), of.logvar.float()]


def from_moments(vae: Any, moments: Tensor, noise: Noise | None = None) -> Tensor:
    """Return the scaled latents of moments; `noise` and what comes back as in `encode`."""
    of = posterior(vae, moments)
    if of is None:
        return _scaled(vae, moments.float())
    z = of.mean.float()
    return _scaled(vae, z + of.std.float() * noise(z.shape) if noise else z)


def decode(vae: Any, z: Tensor) -> Images:
    """Decode scaled latents (n x c x h x w, as `encode` gives them) to pictures in [0, 1]."""
    z = _unscaled(vae, z)
    x = vae.decode(z[:, :, None]).sample[:, :, 0] if _of_videos(vae) else vae.decode(z).sample
    return (x.float() / 2 + 0.5).clamp(0, 1)


def scale(vae: Any) -> int:
    """Return how many pixels of a picture there are to a scaled latent, along one side."""
    config = vae.config
    if "scale_factor_spatial" in config:  # AutoencoderKLWan
        return config.scale_factor_spatial
    if "block_out_channels" in config:
        return 2 ** (len(config.block_out_channels) - 1) * (PATCH if _packed(vae) else 1)
    return vae.spatial_compression_ratio


def channels(vae: Any) -> int:
    """Return how many channels scaled latents have."""
    return _own_channels(vae) * (PATCH**2 if _packed(vae) else 1)


def width(vae: Any) -> int:
    """Return how many channels the first level of an autoencoder has."""
    return vae.config.base_dim if _of_videos(vae) else vae.config.block_out_channels[0]


def _own_channels(vae: Any) -> int:
    return vae.config.z_dim if "z_dim" in vae.config else vae.config.latent_channels


def _of_videos(vae: Any) -> bool:
    """Return whether the autoencoder takes frames, n x 3 x frames x S x S."""
    return "temperal_downsample" in vae.config


def _packed(vae: Any) -> bool:
    """Return whether denoisers see the latents packed and normalised by the autoencoder's norm."""
    return "batch_norm_eps" in vae.config


def _scaled(vae: Any, z: Tensor) -> Tensor:
    """Return latents in the autoencoder's own units as a denoiser sees them."""
    if _packed(vae):
        z = torch.nn.functional.pixel_unshuffle(z, PATCH)
        mean, std = _norm(vae, z)
        return (z - mean) / std
    shift, factor, std = _linear(vae, z)
    z = z if shift is None else z - shift
    return z * factor if std is None else z * factor / std


def _unscaled(vae: Any, z: Tensor) -> Tensor:
    """Undo `_scaled`."""
    if _packed(vae):
        mean, std = _norm(vae, z)
        return torch.nn.functional.pixel_shuffle(z * std + mean, PATCH)
    shift, factor, std = _linear(vae, z)
    z = z / factor if std is None else z * std / factor
    return z if shift is None else z + shift


def _norm(vae: Any, z: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation that the batch norm has seen, each 1 x c x 1 x 1."""
    spread = (vae.bn.running_var + vae.config.batch_norm_eps).sqrt()
    return tuple(v.to(z.device, z.dtype).view(1, -1, 1, 1) for v in (vae.bn.running_mean, spread))


def _linear(vae: Any, z: Tensor) -> tuple[Tensor | float | None, float, Tensor | None]:
    """Return what is taken from latents, the factor, and what they are divided by, if anything."""
    config = vae.config

    def by_channel(name: str) -> Tensor | None:
        values = config.get(name)
        return None if values is None else torch.tensor(values).to(z).view(1, -1, 1, 1)

    mean, std = by_channel("latents_mean"), by_channel("latents_std")
    shift = mean if mean is not None else config.get("shift_factor") or None
    return shift, config.get("scaling_factor", 1.0), std
