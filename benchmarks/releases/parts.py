"""What every statement is given and gives back: a model's parts, what was drawn, what was found."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Found:
    """What one side computed."""

    gradient: Tensor
    """the first one, up what the method raises: by the photos, or by all weights in one line"""
    result: Tensor
    """photos, n x 3 x S x S in [0, 1]; or how far the weights moved, in one line"""


@dataclass(frozen=True)
class Parts:
    """A model's own parts, as diffusers and transformers have them."""

    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    sample: bool = True
    """latents are samples of the autoencoder's posterior, not its mean"""

    @property
    def scale(self) -> float:
        return self.vae.config.scaling_factor

    @property
    def timesteps(self) -> int:
        return self.scheduler.config.num_train_timesteps

    def copy(self) -> Parts:
        """A copy whose UNet and text encoder may learn; the autoencoder is shared and frozen."""
        unet, text_encoder = copy.deepcopy(self.unet), copy.deepcopy(self.text_encoder)
        for part in (unet, text_encoder):
            part.requires_grad_(True)
        return replace(self, unet=unet, text_encoder=text_encoder)

    def weights(self) -> list[torch.nn.Parameter]:
        return [*self.unet.parameters(), *self.text_encoder.parameters()]

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Texts as the UNet reads them, n x L x d."""
        ids = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        return self.text_encoder(ids)[0]

    def encode(self, x: Tensor, draws: Draws) -> Tensor:
        """Scaled latents of pictures in [-1, 1]."""
        posterior = self.vae.encode(x).latent_dist
        z = posterior.mean
        if self.sample:
            z = z + posterior.std * draws.normal(len(z))
        return self.scale * z

    def error(self, z: Tensor, c: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Denoising errors of latents, each element's square: n x c x h x w."""
        z_t = self.scheduler.add_noise(z, noise, t)
        target = (
            noise
            if self.scheduler.config.prediction_type == "epsilon"
            else self.scheduler.get_velocity(z, noise, t)
        )
        return (self.unet(z_t, t, c).sample - target).square()


@dataclass
class Draws:
    """What the package's method drew, row by row in its order, to be drawn again.

    Where a statement asks for more than there is, it gets fresh rows, and `missing` counts them.
    """

    normals: list[Tensor] = field(default_factory=list)
    """noise of the latents' shape, c x h x w"""
    timesteps: list[Tensor] = field(default_factory=list)
    """timesteps, 0-dim"""
    starts: list[Tensor] = field(default_factory=list)
    """uniform numbers in [0, 1) of a photo's shape, 3 x H x W"""
    matrices: list[Tensor] = field(default_factory=list)
    """normal numbers of a weight's shape"""
    uniforms: list[Tensor] = field(default_factory=list)
    """uniform numbers in [0, 1), 0-dim"""
    shape: Sequence[int] = ()
    """of a latent, c x h x w"""
    others: list[Draws] = field(default_factory=list)
    """what came from further generators, in the order of their first use"""
    missing: int = 0

    def normal(self, n: int) -> Tensor:
        if len(self.normals) < n:
            self.missing += n
            return torch.randn(n, *self.shape, generator=torch.Generator().manual_seed(n))
        return self._take(self.normals, n)

    def timestep(self, n: int) -> Tensor:
        if len(self.timesteps) < n:
            self.missing += n
            return torch.randint(0, 1000, (n,), generator=torch.Generator().manual_seed(n))
        return self._take(self.timesteps, n)

    def matrix(self, *shape: int) -> Tensor:
        if not self.matrices or self.matrices[0].shape != shape:
            self.missing += 1
            return torch.randn(shape, generator=torch.Generator().manual_seed(0))
        return self.matrices.pop(0)

    def uniform(self, n: int) -> Tensor:
        return self._take(self.uniforms, n)

    def of_photo(self, i: int, n: int) -> Draws:
        """What was drawn for photo i of n, for releases that take one after the other."""
        return Draws(
            self.normals[i::n],
            self.timesteps[i::n],
            self.starts[i::n],
            [],
            self.uniforms[i::n],
            self.shape,
        )

    def cut(self, normals: int, timesteps: int) -> Draws:
        """The next so many rows of each, taken off these."""
        first = Draws(self.normals[:normals], self.timesteps[:timesteps], shape=self.shape)
        del self.normals[:normals], self.timesteps[:timesteps]
        return first

    @staticmethod
    def _take(rows: list[Tensor], n: int) -> Tensor:
        taken, rows[:n] = torch.stack(rows[:n]), []
        return taken


def signed(photos: Tensor) -> Tensor:
    """From [0, 1] to [-1, 1], in which most releases work."""
    return 2 * photos - 1


def unsigned(x: Tensor) -> Tensor:
    return (x.detach() + 1) / 2


def box(x: Tensor, x_0: Tensor, eps: float) -> Tensor:
    """x within eps of x_0 and within [-1, 1]."""
    return (x_0 + (x - x_0).clamp(-eps, eps)).clamp(-1, 1)
