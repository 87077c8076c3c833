"""One face on every latent diffusion model: encode, decode, embed, loss, sample, copy.

Surrogates and victims alike are `LDM`s. eps-, v-prediction and flow matching are told apart in
`LDM.loss` and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from cloakwork.errors import UserError
from cloakwork.models import schedulers
from cloakwork.types import Images

MICRO_BATCH = 8  # pictures sampled at a time


@dataclass(frozen=True)
class Sampling:
    """How pictures are drawn from a model."""

    n: int = 16
    """pictures for each prompt"""
    steps: int = 25
    """denoising steps"""
    guidance: float = 7.5
    """classifier-free guidance scale (1: none)"""
    negative: str = ""
    """negative prompt"""
    scheduler: str = "ddim"
    """sampler"""


def encode(vae: Any, x: Images, noise: Callable[[Sequence[int]], Tensor] | None = None) -> Tensor:
    """Pictures (n x 3 x S x S in [0, 1]) to an autoencoder's scaled latents: its posterior's mean,
    or with `noise` a sample.
    """
    encoded, scale = vae.encode(2 * x - 1), vae.config.scaling_factor
    if hasattr(encoded, "latents"):  # AutoencoderTiny has no posterior
        return encoded.latents.float() * scale
    posterior = encoded.latent_dist
    z = posterior.mean.float()
    return (z + posterior.std.float() * noise(z.shape) if noise else z) * scale


@dataclass
class LDM:
    """A latent diffusion model: a thin face on the parts of a diffusers pipeline.

    Weights stay in fp32; `dtype` is what the arithmetic is autocast to. Every part is frozen except
    inside `trainable`. All randomness comes from a CPU generator, so that a seed means the same on
    every device.

    Attributes:
        name: what the user asked for: "tiny", a folder, a hub id.
        weights: first 12 hex digits of the sha256 over weights, configs and vocabulary.
        size: side of the square picture the model was made for, in pixels.
        sample_posterior: encode to a sample of the VAE's posterior (Stable Diffusion's training)
            instead of its mean.
    """

    name: str
    vae: Any
    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any
    weights: str
    size: int
    dtype: torch.dtype = torch.float32
    sample_posterior: bool = False
    _embedded: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    @property
    def scale(self) -> int:
        """Pixels of a picture to a latent, along one side."""
        return 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def inpaints(self) -> bool:
        """The UNet is told the mask and the masked picture too (Stable Diffusion's inpainting
        models: 9 input channels).
        """
        return self.unet.config.in_channels == 2 * self.vae.config.latent_channels + 1

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def encode(self, x: Images, rng: torch.Generator | None = None) -> Tensor:
        """Pictures (n x 3 x S x S in [0, 1]) to scaled latents (n x c x S/8 x S/8), differentiable.

        `rng` is used only when `sample_posterior` is on.
        """
        with self.autocast():
            return encode(
                self.vae,
                x,
                (lambda shape: self.noise(shape, rng)) if self.sample_posterior else None,
            )

    def decode(self, z: Tensor) -> Images:
        """Scaled latents to pictures, n x 3 x S x S in [0, 1]."""
        with self.autocast():
            x = self.vae.decode(z / self.vae.config.scaling_factor).sample
        return (x.float() / 2 + 0.5).clamp(0, 1)

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Text conditioning, n x L x d. Cached while the text encoder is frozen; with a graph while
        it learns.
        """
        prompts = [self.spell(p) for p in prompts]
        if any(p.requires_grad for p in self.text_encoder.parameters()):
            return self._embed(prompts)
        new = [p for p in dict.fromkeys(prompts) if p not in self._embedded]
        if new:
            with torch.no_grad():
                self._embedded.update(zip(new, self._embed(new), strict=True))
        return torch.stack([self._embedded[p] for p in prompts])

    def spell(self, prompt: str) -> str:
        """The prompt in this tokenizer's words: a bare "sks" becomes the model's own token "<sks>"
        where there is one.
        """
        if "<sks>" in self.tokenizer.get_added_vocab():
            return re.sub(r"(?<!<)\bsks\b(?!>)", "<sks>", prompt)
        return prompt

    def forget_text(self) -> None:
        """Drops cached text embeddings; to be called when the text encoder's weights have
        changed.
        """
        self._embedded.clear()

    def _embed(self, prompts: Sequence[str]) -> Tensor:
        longest = self.tokenizer.model_max_length
        ids = self.tokenizer(
            list(prompts),
            padding="max_length",
            max_length=longest,
            truncation=True,
            return_tensors="pt",
        ).input_ids
        with self.autocast():
            return self.text_encoder(ids.to(self.device))[0].float()

    def noise(self, shape: Sequence[int], rng: torch.Generator | None) -> Tensor:
        """Standard normal noise, drawn on the CPU."""
        if rng is None:
            raise ValueError("Something random was asked for without a generator.")
        return torch.randn(shape, generator=rng).to(self.device)

    def timesteps(self, n: int, rng: torch.Generator | None) -> Tensor:
        """n timesteps, uniform over the schedule."""
        return torch.randint(0, self.scheduler.config.num_train_timesteps, (n,), generator=rng).to(
            self.device
        )

    def loss(
        self, x: Images, c: Tensor, rng: torch.Generator | None, t: Tensor | None = None
    ) -> Tensor:
        """Denoising error of pictures x under text c, mean over everything; one timestep and one
        noise a picture.
        """
        return self.latent_loss(self.encode(x, rng), c, rng, t)

    def latent_loss(
        self, z: Tensor, c: Tensor, rng: torch.Generator | None, t: Tensor | None = None
    ) -> Tensor:
        """Denoising error of latents z (n x c x h x w), in whatever the model was trained to
        predict.
        """
        t = self.timesteps(len(z), rng) if t is None else t
        noise = self.noise(z.shape, rng)
        z_t, target = self.diffuse(z, noise, t)
        return (self.predict(z_t, t, c) - target).square().mean()

    def diffuse(self, z: Tensor, noise: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The noised latents at t and what the model is to predict from them."""
        kind = self.scheduler.config.get("prediction_type", "flow")
        if kind == "flow":
            sigma = (t.float() / self.scheduler.config.num_train_timesteps)[:, None, None, None]
            return (1 - sigma) * z + sigma * noise, noise - z
        a = self.scheduler.alphas_cumprod.to(z.device)[t][:, None, None, None]
        z_t = a.sqrt() * z + (1 - a).sqrt() * noise
        return z_t, noise if kind == "epsilon" else a.sqrt() * noise - (1 - a).sqrt() * z

    def predict_noise(self, z_t: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """The noise that the model sees in z_t, whatever it was trained to predict."""
        return self.as_noise(self.predict(z_t, t, c), z_t, t)

    def as_noise(self, out: Tensor, z_t: Tensor, t: Tensor) -> Tensor:
        """The denoiser's output for z_t, said as noise."""
        kind = self.scheduler.config.get("prediction_type", "flow")
        if kind == "epsilon":
            return out
        if kind == "flow":
            return (
                z_t
                + (1 - t.float() / self.scheduler.config.num_train_timesteps)[:, None, None, None]
                * out
            )
        a = self.scheduler.alphas_cumprod.to(z_t.device)[t][:, None, None, None]
        return a.sqrt() * out + (1 - a).sqrt() * z_t

    def predict(self, z_t: Tensor, t: Tensor, c: Tensor) -> Tensor:
        """The denoiser's output; one text condition is shared by all latents.

        Raises:
            UserError: plain latents for an inpainting model.
        """
        if z_t.shape[1] != self.unet.config.in_channels:
            raise UserError(
                f"'{self.name}' is an inpainting model, which can only inpaint; "
                "give a text-to-image model, such as the one that it was made from."
            )
        c = c.expand(len(z_t), -1, -1) if len(c) == 1 else c
        with self.autocast():
            return self.unet(z_t, t, encoder_hidden_states=c).sample.float()

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[str],
        n: int,
        rng: torch.Generator,
        *,
        guidance: float = 7.5,
        steps: int = 25,
        negative: str = "",
        scheduler: str = "ddim",
    ) -> Images:
        """n pictures for each prompt (in the prompts' order), in [0, 1], on the CPU.

        The starting noise is drawn first and as a whole, so picture i has the same noise whatever
        model is asked.

        Raises:
            UserError: an unknown scheduler, steps out of range, or an inpainting model.
        """
        c = self.embed([p for p in prompts for _ in range(n)])
        free = self.embed([negative])
        side = self.size // self.scale
        noise = self.noise((len(c), self.vae.config.latent_channels, side, side), rng)
        seeds = schedulers.seeds(scheduler, len(c), rng)
        pictures = []
        for first in range(0, len(c), MICRO_BATCH):
            part = slice(first, first + MICRO_BATCH)
            fresh, timesteps = schedulers.plan(self.scheduler, scheduler, steps)
            z = noise[part] * fresh.init_noise_sigma
            z = self.denoise(
                z, c[part], free, fresh, timesteps, guidance=guidance, seeds=seeds and seeds[part]
            )
            pictures.append(self.decode(z).cpu())
        return torch.cat(pictures)

    def denoise(
        self,
        z: Tensor,
        held: Tensor,
        free: Tensor,
        scheduler: Any,
        timesteps: Tensor,
        *,
        guidance: float,
        seeds: list[int] | None = None,
        extra: Tensor | None = None,
        after: Callable[[int, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """The way back from noise: n x c x h x w at timesteps[0] to clean latents, with
        classifier-free guidance.

        Args:
            z: noised latents.
            held: what the pictures are to show, n x L x d.
            free: what guidance leads away from, 1 x L x d; guidance 1 is the text alone, and half
                the work.
            scheduler: one of `schedulers.plan`, not used before.
            timesteps: those that it goes through.
            guidance: classifier-free guidance scale.
            seeds: one for each picture, for schedulers that draw noise (`schedulers.seeds`).
            extra: n x k x h x w, further input channels of an inpainting UNet.
            after: step number, latents -> latents; called after every step.
        """
        both = torch.cat([free.expand(len(held), -1, -1), held])
        rngs = [torch.Generator().manual_seed(seed) for seed in seeds or []]
        for i, t in enumerate(timesteps):
            x = scheduler.scale_model_input(z, t)
            x = x if extra is None else torch.cat([x, extra], 1)
            if guidance == 1:
                e = self.predict(x, t.to(self.device), held)
            else:
                e_free, e_held = self.predict(x.repeat(2, 1, 1, 1), t.to(self.device), both).chunk(
                    2
                )
                e = e_free + guidance * (e_held - e_free)
            z = (
                scheduler.step(e, t, z, generator=rngs) if rngs else scheduler.step(e, t, z)
            ).prev_sample
            z = after(i, z) if after else z
        return z

    def copy(self) -> LDM:
        """A model that a method may train: own UNet and text encoder, still frozen; the VAE is
        shared.
        """
        return replace(
            self, unet=deepcopy(self.unet), text_encoder=deepcopy(self.text_encoder), _embedded={}
        )

    @contextmanager
    def trainable(
        self, *, text_encoder: bool = True, only: Callable[[str], bool] | None = None
    ) -> Iterator[dict[str, nn.Parameter]]:
        """Inside, the UNet (and text encoder) learn; yields their parameters by name. The VAE
        always stays frozen.

        `only` says by name (such as "unet.conv_in.weight") which of them do.
        """
        parts = {"unet": self.unet} | ({"text_encoder": self.text_encoder} if text_encoder else {})
        named = {
            f"{part}.{k}": p for part, module in parts.items() for k, p in module.named_parameters()
        }
        if only is not None:
            named = {name: p for name, p in named.items() if only(name)}
        for p in named.values():
            p.requires_grad_(True)
        self.forget_text()
        try:
            yield named
        finally:
            for p in named.values():
                p.requires_grad_(False)
                p.grad = None
            self.forget_text()
