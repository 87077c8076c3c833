"""Which half of a latent diffusion model gives way: how far each carries a change in what it is
given.

Xue et al., "Toward effective protection against diffusion based mimicry through score
distillation", arXiv 2311.12832, call the encoder the bottleneck: a small change in the photo moves
its latent far, while the denoiser, attacked on its own in the space of latents, hardly errs.
Changes are in shares of the *spread* of the clean picture or latent, the deviation of its elements
from their mean, so that pixels and latents of any autoencoder compare. A half *amplifies* when its
answer moves by a larger share than what it was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.models.encoder import Encoder
from cloakwork.models.ldm import LDM
from cloakwork.models.text import Text
from cloakwork.types import Images

ENCODER_MICRO_BATCH = 8  # pictures at a time
LOOKS = 8  # timesteps and noises for each photo that an error is averaged over


@dataclass(frozen=True)
class EncoderShift:
    """How far an autoencoder carries a change, for each photo."""

    pixels: list[float]
    """root mean square of the change, in shares of the clean photo's spread"""
    latents: list[float]
    """the same of the change in the latent"""

    @property
    def amplified(self) -> list[float]:
        """Latents over pixels; 0 where nothing changed."""
        return [z / x if x else 0.0 for x, z in zip(self.pixels, self.latents, strict=True)]


def encoder_shift(
    coder: Encoder, clean: Images, others: Mapping[str, Images]
) -> dict[str, EncoderShift]:
    """Measure how far an autoencoder carries changes of photos, pair by pair.

    Args:
        coder: the autoencoder.
        clean: photos as the model sees them, n x 3 x S x S in [0, 1].
        others: changed ones by name, of the same shape.
    """
    z = latents_of(coder, clean)
    return {
        name: EncoderShift(change(clean, x).tolist(), change(z, latents_of(coder, x)).tolist())
        for name, x in others.items()
    }


@torch.no_grad()
def latents_of(coder: Encoder, x: Images) -> Tensor:
    """Return pictures' latents (n x 3 x S x S in [0, 1] -> n x c x h x w), on the CPU."""
    parts = x.split(ENCODER_MICRO_BATCH)
    return torch.cat([coder.encode(part.to(coder.device)).cpu() for part in parts])


def change(clean: Tensor, other: Tensor) -> Tensor:
    """Compute the root mean square of other - clean in shares of the clean one's spread.

    Args:
        clean: n x c x h x w.
        other: of the same shape.

    Returns:
        n values.

    >>> clean = torch.tensor([[[[0.0, 2.0]]]])
    >>> change(clean, clean + 0.5).tolist()
    [0.5]
    """
    return rms(other - clean) / spread(clean)


def spread(x: Tensor) -> Tensor:
    """Compute the deviation of the elements from their channel's mean over places.

    Args:
        x: n x c x h x w.

    Returns:
        n values.

    >>> spread(torch.tensor([[[[0.0, 2.0]]]])).tolist()
    [1.0]
    """
    return rms(x - x.mean((2, 3), keepdim=True))


def rms(x: Tensor) -> Tensor:
    """Compute the root mean square of each of n tensors: n values from n x ...

    >>> rms(torch.tensor([[3.0, -3.0], [0.0, 0.0]])).tolist()
    [3.0, 0.0]
    """
    return x.flatten(1).square().mean(1).sqrt()


@dataclass(frozen=True)
class DenoiserShift:
    """What the denoiser makes of latents that were moved; means over timesteps and noises, for each
    photo.
    """

    latents: list[float]
    """how far they were moved, in shares of the clean latent's spread"""
    error: list[float]
    """denoising error"""
    answers: list[float]
    """how far the predicted noise moved, in shares of its own spread"""


@torch.no_grad()
def denoiser_shift(
    ldm: LDM, c: Text, clean: Tensor, others: Mapping[str, Tensor], rng: torch.Generator
) -> dict[str, DenoiserShift]:
    """Measure how far moved latents move the denoiser's answers and its error.

    All latents meet the same timesteps and noises.

    Args:
        ldm: whose denoiser it is.
        c: the text it is given.
        clean: latents, n x c x h x w.
        others: moved ones by name, of the same shape.
        rng: for timesteps and noises.
    """
    errors: dict[str, list[Tensor]] = {name: [] for name in others}
    answers: dict[str, list[Tensor]] = {name: [] for name in others}
    for _ in range(LOOKS):
        t, noise = ldm.timesteps(len(clean), rng), ldm.noise(clean.shape, rng)
        before = ldm.predict(ldm.diffuse(clean, noise, t)[0], t, c)
        for name, other in others.items():
            z_t, target = ldm.diffuse(other, noise, t)
            after = ldm.predict(z_t, t, c)
            errors[name].append((after - target).square().flatten(1).mean(1))
            answers[name].append(change(before, after))
    means = {
        name: [torch.stack(drawn[name]).mean(0).tolist() for drawn in (errors, answers)]
        for name in others
    }
    return {
        name: DenoiserShift(change(clean, other).tolist(), *means[name])
        for name, other in others.items()
    }


def attack_denoiser(
    ldm: LDM, c: Text, z: Tensor, share: float, rng: torch.Generator, *, steps: int = 40
) -> Tensor:
    """Return latents near z that the denoiser errs on most: an attack on this half alone.

    Gradient ascent on the denoising error in a ball around each latent, whose radius is `share` of
    the latent's spread (root mean square), with normalised steps of an eighth of it. Latents have
    no pixels, hence a ball and not `pgd`'s box.

    Args:
        ldm: whose denoiser it is.
        c: the text it is given.
        z: clean latents, n x c x h x w.
        share: radius, in shares of each latent's spread.
        rng: for a fresh timestep and noise in every step.
        steps: of the ascent.
    """
    radius = (share * spread(z))[:, None, None, None]
    delta = torch.zeros_like(z)
    for _ in range(steps):
        leaf = delta.requires_grad_(True)
        (g,) = torch.autograd.grad(ldm.latent_loss(z + leaf, c, rng), leaf)
        delta = delta.detach() + radius / 8 * normalized(g)
        delta = delta * (radius / rms(delta).clamp(min=1e-12)[:, None, None, None]).clamp(max=1)
    return z + delta


def scatter(z: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Move latents by as much in a random direction: the control of `attack_denoiser`."""
    return z + (share * spread(z))[:, None, None, None] * normalized(
        torch.randn(z.shape, generator=rng).to(z)
    )


def normalized(x: Tensor) -> Tensor:
    """Scale each of n tensors (n x c x h x w) to a root mean square of 1.

    >>> normalized(torch.tensor([[[[3.0, -3.0]]]])).flatten().tolist()
    [1.0, -1.0]
    """
    return x / rms(x).clamp(min=1e-12)[:, None, None, None]
