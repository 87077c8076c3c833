"""What denoisers predict, "epsilon", "v_prediction" or "flow": told apart here alone.

`share` says how noisy a latent is at its timestep, n x 1 x 1 x 1: the share of its variance that is
left (abar), or with flows the share of noise in it (sigma).
"""

from __future__ import annotations

from torch import Tensor


def diffuse(kind: str, share: Tensor, z: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Noise latents z (n x c x h x w); return them and what the model is to predict."""
    if kind == "flow":
        return (1 - share) * z + share * noise, noise - z
    z_t = share.sqrt() * z + (1 - share).sqrt() * noise
    return z_t, noise if kind == "epsilon" else share.sqrt() * noise - (1 - share).sqrt() * z


def as_noise(kind: str, share: Tensor, out: Tensor, z_t: Tensor) -> Tensor:
    """Convert a denoiser's output for z_t to the noise that it implies."""
    if kind == "epsilon":
        return out
    if kind == "flow":
        return z_t + (1 - share) * out
    return share.sqrt() * out + (1 - share).sqrt() * z_t
