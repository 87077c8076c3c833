"""One interface to every latent diffusion model: encode, decode, embed, loss, sample, copy.

Surrogates and victims alike are `LDM`s. What differs between families is in `models/families/`;
eps-, v-prediction and flow matching are told apart in `models/predictions.py` and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cloakwork.errors import UserError
from cloakwork.models import denoising, latents, learning, predictions, reading, schedulers
from cloakwork.models.device import arithmetic
from cloakwork.models.families import flow, stable_diffusion
from cloakwork.models.families.family import Family
from cloakwork.models.graphs import Pass, Replayed
from cloakwork.models.text import Text
from cloakwork.photos.tensors import send
from cloakwork.types import Images

SAMPLING_MICRO_BATCH = 8  # pictures sampled at a time


@dataclass
class LDM:
    """A latent diffusion model: a thin layer over the parts of a diffusers pipeline.

    What differs between families is in `family`, a module of `models/families/`. Weights stay in
    fp32; `dtype` is what the arithmetic is autocast to. Every part is frozen except
    inside `trainable`. All randomness comes from a CPU generator, so that a seed means the same on
    every device.

    Attributes:
        name: what the user asked for: "tiny", a folder, a hub id.
        denoiser: a UNet or a transformer.
        weights: first 12 hex digits of the sha256 over weights, configs and vocabulary.
        size: side of the square picture the model was made for, in pixels.
        sample_posterior: encode to a sample of the VAE's posterior (Stable Diffusion's training)
            instead of its mean.
        low_memory: whoever has the choice takes less memory and more time, for the same bytes; text
            encoders wait in the CPU's memory while nobody reads prompts, and under bfloat16 layers
            of the denoiser keep no more digits than that.
        graphs: replay the denoiser's passes as CUDA graphs while its weights stay as they are.
        whole: the denoiser with all digits of its weights, in the CPU's memory, where `denoiser`
            has fewer; copies that learn are made of it.
        zero_negative: guidance without a negative prompt leads away from zeros, not from the empty
            prompt.
        distilled: pictures take no guidance, and a few steps.
        editor: the class of its pipeline in diffusers, if that is one of its family's EDITORS.
        processor: the folder of what makes a text encoder's view of pictures, where it sees any.
    """

    name: str
    vae: Any
    denoiser: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    weights: str
    size: int
    dtype: torch.dtype = torch.float32
    sample_posterior: bool = False
    low_memory: bool = False
    graphs: bool = False
    family: Family = stable_diffusion
    tokenizer_2: Any = None
    text_encoder_2: Any = None
    tokenizer_3: Any = None
    text_encoder_3: Any = None
    zero_negative: bool = False
    distilled: bool = False
    editor: str = ""
    processor: Path | None = None
    whole: Any = None
    _embedded: dict[str, Text] = field(default_factory=dict, repr=False)
    _alphas: dict[torch.device, Tensor] = field(init=False, default_factory=dict, repr=False)
    _denoiser: Pass = field(init=False, repr=False)

    # methods that stand in files of their own
    embed, instruct, spell = reading.embed, reading.instruct, reading.spell
    sample, plan, denoise = denoising.sample, denoising.plan, denoising.denoise
    copy, trainable = learning.copy, learning.trainable

    def __post_init__(self) -> None:
        once = self._denoise_once
        self._denoiser = Replayed(self.denoiser, once) if self.graphs else once

    def __repr__(self) -> str:
        dtype = str(self.dtype).removeprefix("torch.")
        side = f"{self.size} x {self.size} px"
        return f"<LDM {self.name} (weights {self.weights}), {side}, {dtype}, {self.device}>"

    @property
    def device(self) -> torch.device:
        return next(self.denoiser.parameters()).device

    @property
    def learning_encoders(self) -> dict[str, nn.Module]:
        """The text encoders that a trainer may train, by the names of their folders."""
        return {part: getattr(self, part) for part in self.family.LEARNERS}

    @property
    def learners(self) -> dict[str, nn.Module]:
        """All parts that a trainer may train, by the names of their folders in a pipeline."""
        return {self.family.DENOISER: self.denoiser} | self.learning_encoders

    @property
    def networks(self) -> dict[str, nn.Module]:
        """All parts with weights, by the names of their fields."""
        return {"vae": self.vae, "denoiser": self.denoiser} | self.text_encoders

    @property
    def text_encoders(self) -> dict[str, nn.Module]:
        """All that prompts are read with, by the names of their fields."""
        names = ("text_encoder", "text_encoder_2", "text_encoder_3")
        return {name: part for name in names if (part := getattr(self, name)) is not None}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sides of the square pictures that it sees, pixels: one."""
        return (self.size,)

    @property
    def scale(self) -> int:
        """How many pixels of a picture there are to a latent, along one side."""
        return latents.scale(self.vae)

    @property
    def inpaints(self) -> bool:
        """Whether the denoiser takes a mask and the masked picture too.

        Stable Diffusion's inpainting models do, with 9 input channels.
        """
        return self.family.channels(self.denoiser) == 2 * latents.channels(self.vae) + 1

    @property
    def edits(self) -> bool:
        """Whether it was trained to change a picture that it is shown, as it is told."""
        return bool(self.editor)

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(
            self.device.type,
            self.dtype,
            enabled=self.dtype != torch.float32,
            cache_enabled=not self.graphs,  # casts of weights are part of a graph
        )

    def encode(self, x: Images, rng: torch.Generator | None = None) -> Tensor:
        """Encode pictures (n x 3 x S x S in [0, 1]) to scaled latents (n x c x S/8 x S/8).

        Differentiable. `rng` is used only when `sample_posterior` is on.
        """
        return self.latents(self.moments(x), rng)

    def moments(self, x: Images) -> Tensor:
        """Return what the autoencoder says of pictures; see `latents.moments`."""
        with self.autocast():
            return latents.moments(self.vae, x)

    def latents(self, moments: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return the scaled latents of moments, as `encode` would those of the pictures."""
        noise = (lambda shape: self.noise(shape, rng)) if self.sample_posterior else None
        with self.autocast():
            return latents.from_moments(self.vae, moments, noise)

    def decode(self, z: Tensor) -> Images:
        """Decode scaled latents to pictures, n x 3 x S x S in [0, 1]."""
        with self.autocast():
            return latents.decode(self.vae, z)

    def unconditional(self, negative: str = "") -> Text | None:
        """Return what guidance leads away from: the negative prompt, or none."""
        return self.family.unconditional(self, negative)

    def forget_text(self) -> None:
        """Drop the cached text embeddings, for when the text encoder's weights have changed."""
        self._embedded.clear()

    def noise(self, shape: Sequence[int], rng: torch.Generator | None) -> Tensor:
        """Draw standard normal noise on the CPU, and move it to the model's device."""
        if rng is None:
            raise ValueError("Something random was asked for without a generator.")
        return send(torch.randn(shape, generator=rng), self.device)

    def timesteps(self, n: int, rng: torch.Generator | None) -> Tensor:
        """Draw n timesteps, as the family's trainers do."""
        return send(self.family.timesteps(self.scheduler, n, rng), self.device)

    @property
    def alphas_cumprod(self) -> Tensor:
        """Shares of a picture's variance left at each timestep, on the model's device."""
        if self.device not in self._alphas:
            self._alphas[self.device] = send(self.scheduler.alphas_cumprod, self.device)
        return self._alphas[self.device]

    def loss(
        self, x: Images, c: Text, rng: torch.Generator | None, t: Tensor | None = None
    ) -> Tensor:
        """Compute the denoising error of pictures under a text, averaged over everything.

        Args:
            x: n x 3 x S x S in [0, 1].
            c: the text conditioning, n or 1.
            rng: draws a timestep and a noise for each picture.
            t: the timesteps, n; None draws them.
        """
        return self.latent_loss(self.encode(x, rng), c, rng, t)

    def latent_loss(
        self, z: Tensor, c: Text, rng: torch.Generator | None, t: Tensor | None = None
    ) -> Tensor:
        """Compute the denoising error of latents z (n x c x h x w); otherwise as `loss`.

        It is an error in whatever the model was trained to predict.
        """
        t = self.timesteps(len(z), rng) if t is None else t
        noise = self.noise(z.shape, rng)
        z_t, target = self.diffuse(z, noise, t)
        return self.weigh(self.predict(z_t, t, c) - target, t).square().mean()

    def weigh(self, off: Tensor, t: Tensor) -> Tensor:
        """Return what counts of predictions at timesteps t that are so far off, as the family's
        trainers count it.
        """
        return self.family.weigh(self.scheduler, off, t)

    def diffuse(self, z: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Noise latents to timesteps t (n); return them and what the model is to predict."""
        return predictions.diffuse(*self._share(t), z, noise)

    def predict_noise(self, z_t: Tensor, t: Tensor, c: Text) -> Tensor:
        """Predict the noise in z_t, whatever the model was trained to predict."""
        return self.as_noise(self.predict(z_t, t, c), z_t, t)

    def as_noise(self, out: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        """Convert the denoiser's output for z_t to the noise that it implies."""
        return predictions.as_noise(*self._share(t), out, z_t)

    def _share(self, t: Tensor) -> tuple[str, Tensor]:
        """Return what is predicted, and how noisy latents are at timesteps t."""
        kind = schedulers.predicted(self.scheduler)
        share = flow.sigma(self.scheduler, t) if kind == "flow" else self.alphas_cumprod[t]
        return kind, share.view(-1, 1, 1, 1)

    def predict(self, z_t: Tensor, t: Tensor, c: Text) -> Tensor:
        """Compute the denoiser's output; a single text conditioning is shared by all latents.

        Raises:
            UserError: plain latents for an inpainting model.
        """
        if z_t.shape[1] != self.family.channels(self.denoiser):
            raise UserError(
                f"'{self.name}' is an inpainting model, which can only inpaint; "
                "give a text-to-image model, such as the one that it was made from."
            )
        c = c.expand(len(z_t))
        if not c.all_of_it:  # a graph would be of these lengths alone
            return self._told(z_t, t, c)
        return self._denoiser(z_t, t, *c.tensors)

    def _denoise_once(self, z_t: Tensor, t: Tensor, *c: Tensor) -> Tensor:
        return self._told(z_t, t, Text(*c))

    def _told(self, z_t: Tensor, t: Tensor, c: Text) -> Tensor:
        with self.autocast():
            return self.family.denoise(self, z_t, t, c).float()

    def views(self, side: int) -> tuple[LDM, ...]:
        """Return itself: it sees photos of any short side (pixels) at the one size it works at."""
        return (self,)

    def computing_in(self, dtype: str) -> LDM:
        """Return the same model with other arithmetic ("float32", "bfloat16", "float16"); itself
        for "".
        """
        return replace(self, dtype=arithmetic(dtype, self.device), _embedded={}) if dtype else self
