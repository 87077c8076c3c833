"""Latent DiffPure: DiffPure in the latents of a text-to-image model, asked for a clean photo.

DiffShortcut (arXiv 2406.18944; its "ldiffp", and "eldiffp" with an empty prompt). With z = E(x), t
at `strength` of the schedule:

    x' = D(denoise(sqrt(abar_t) z + sqrt(1 - abar_t) eps, from t to 0, under the prompt))

which is an edit by SDEdit that asks for no change. The authors take Stable Diffusion 1.4, 300 of
1000 DDPM steps and guidance 7.5 (preset "paper").

Preset "img2img" is that of arXiv 2602.22197, for any model (checked against
mlsecviswanath/img2imgdenoiser at 90c16ef): "Denoise the image" at strength .15, with the steps
and the guidance that diffusers' pipeline takes unasked; here by DDIM, there by each model's own
sampler.

Departures: photos keep their size (windows of the model's square that overlap by half, under one
noise for the whole photo); the laptop preset denoises by DDIM, whose result is the noise's alone,
so that overlapping windows agree, and goes a third as far at guidance 3. The model is the
attacker's own (the authors purify with another than they train).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from cloakwork.errors import check_ranges
from cloakwork.models import latents, schedulers
from cloakwork.models.denoising import SAMPLING_MICRO_BATCH
from cloakwork.models.ldm import LDM
from cloakwork.photos import tiling
from cloakwork.registry import SUBJECT_PROMPT
from cloakwork.types import Photos

VERSION = 1
USES_MODEL = "latent"
WINDOWS = True


@dataclass(frozen=True)
class Config:
    """Names of diffusers' img2img."""

    strength: float = 0.3
    """share of the noise schedule that is gone up and down again, 0 to 1"""
    steps: int = 1000
    """denoising steps at strength 1"""
    guidance: float = 7.5
    """classifier-free guidance scale (1: none)"""
    prompt: str = field(
        default="a photo of a person, clear, high resolution, high quality, noise-free",
        metadata=SUBJECT_PROMPT,
    )
    """what the photos are to show"""
    negative: str = ""
    """negative prompt"""
    scheduler: str = "ddpm"
    """sampler: ddim, ddpm, pndm, euler, dpm++, unipc"""

    def __post_init__(self) -> None:
        check_ranges(self, strength=(0, 1), steps=(1, 1000), guidance=(0, 100))


PRESETS = {
    "tiny": Config(strength=0.1, steps=50, guidance=3, scheduler="ddim"),
    "paper": Config(),
    "empty": Config(prompt=""),
    "img2img": Config(strength=0.15, steps=50, prompt="Denoise the image", scheduler="ddim"),
}


@torch.no_grad()
def purify(photos: Photos, ldm: LDM, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of their own sizes.

    Raises:
        UserError: a photo smaller than the model's square, an unknown scheduler, less than one
            step.
    """
    schedulers.check_scheduler(ldm.scheduler, cfg.scheduler, cfg.steps, [cfg.strength])
    c, free = ldm.embed([cfg.prompt]), ldm.unconditional(cfg.negative)
    f, side = ldm.scale, ldm.size // ldm.scale

    def pure(photo: torch.Tensor) -> torch.Tensor:
        height, width = photo.shape[-2:]
        at = tiling.places(height, width, ldm.size, ldm.size // 2)
        whole = torch.randn(
            latents.channels(ldm.vae), -(-height // f), -(-width // f), generator=rng
        )
        noise = tiling.cut(whole, [(top // f, left // f) for top, left in at], side).to(photo)
        seeds = schedulers.seeds(cfg.scheduler, len(at), rng)
        made = []
        for part in torch.arange(len(at)).split(SAMPLING_MICRO_BATCH):
            scheduler, timesteps = ldm.plan(cfg.scheduler, cfg.steps, cfg.strength)
            z = ldm.encode(tiling.cut(photo, at, ldm.size)[part], rng)
            if len(timesteps):
                z_t = schedulers.noised(scheduler, z, noise[part], timesteps[0])
                z = ldm.denoise(
                    z_t,
                    c.expand(len(z)),
                    free,
                    scheduler,
                    timesteps,
                    guidance=cfg.guidance,
                    seeds=seeds and [seeds[i] for i in part],
                )
            made.append(ldm.decode(z))
        return tiling.join(torch.cat(made), at, height, width)

    return [pure(p) for p in photos]
