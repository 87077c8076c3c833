"""PhotoGuard: the latent of every photo, or the picture that a short sampling makes of it, is drawn
to a target.

Salman et al., "Raising the Cost of Malicious AI-Powered Image Editing", arXiv 2302.06588. With E
and D the autoencoder:

    encoder attack     x' = argmin over |x' - x| <= budget of || E(x') - z_target ||_2^2
    diffusion attack   x' = argmin over |x' - x| <= budget of || D(f(x')) - x_target ||_2^2

f noises E(x') at `edit_strength` of the schedule and denoises it in `ddim_steps` differentiable
DDIM steps with guidance.

Checked against MadryLab/photoguard at 686bea7. Encoder: the img2img notebook (posterior mean, zero
latent as target, l-infinity .06 on [-1, 1] = 7.65/255, step .02 that decays linearly to 1 %, 1000
steps, random start). Diffusion (preset "diffusion"): the inpainting notebook's l-infinity variant
(.1 on [-1, 1] = 12.75/255, step .006 = .765/255, 200 steps, each the mean of 5 repetitions, 4 DDIM
steps, guidance 7.5, empty prompt, 0 on [-1, 1] = mid-grey as target).

Departures (beside the package's conventions):
- squared norms (the notebooks take the plain norm; the sign of the gradient is the same for one
  surrogate and one repetition, while a mean over several weights them differently);
- the diffusion attack is the text-to-image model's SDEdit (the notebook attacks an inpainting
  pipeline, with a mask, from pure noise), its DDIM deterministic (there eta 1), its UNet
  checkpointed where memory is short; it takes 10 repetitions, those of the notebook's l2 variant;
- the laptop preset's step does not decay, and its target is the latent of mid-grey.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Literal, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from cloakwork.models import schedulers
from cloakwork.models.counting import alike
from cloakwork.models.encoder import Encoder
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import ensemble, graph_memory, losses, pgd, targets
from cloakwork.photos.tensors import send
from cloakwork.registry import IN_KEY, OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 1
NEEDS = "encoder if attack=encoder"


@dataclass(frozen=True)
class Config:
    """Names of the paper; budgets in 1/255."""

    budget: float = 7.65
    """largest change of a pixel, 1/255"""
    strength: Strength = field(
        default="uniform", metadata=OMIT_FROM_KEY_AT_DEFAULT | {IN_KEY: "visible strength"}
    )
    """how the budget follows the photo: not at all; or less where the eye would notice a change"""
    start: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """a protection that PGD starts from, such as learned, with which fewer steps may do (empty: the
    photo itself)"""
    steps: int = 1000
    """PGD steps"""
    step: float | None = 2.55
    """change per step, 1/255 (none: budget / 10)"""
    final_step: float = 0.01
    """share of the step that is left at the end of its linear decay"""
    random_start: bool = True
    """begin at a random point of the budget's box"""
    target: str = "zero"
    """zero (the latent of nothing: the notebook), grey, pattern, or an image file"""
    attack: Literal["encoder", "diffusion"] = "encoder"
    """what is drawn to the target: the latent, or a picture sampled from it"""
    ddim_steps: int = 4
    """diffusion attack: denoising steps"""
    edit_strength: float = field(default=0.7, metadata={IN_KEY: "strength"})
    """diffusion attack: share of the noise schedule that they go through"""
    guidance: float = 7.5
    """diffusion attack: classifier-free guidance scale"""
    prompt: str = field(default="", metadata=SUBJECT_PROMPT)
    """diffusion attack: what the editor is thought to write"""
    repetitions: int = 10
    """diffusion attack: noises that a step's gradient is averaged over"""
    surrogate_weights: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """weights of several surrogates' gradients, parted by blanks, as in "1 1 2"; with them, and
    where encoders alone are among the surrogates, gradients are first brought to one length"""

    def __post_init__(self) -> None:
        ensemble.parse_weights(self.surrogate_weights)


PRESETS = {
    "tiny": Config(budget=11, steps=100, step=None, final_step=1, target="grey"),
    "paper": Config(),
    "diffusion": Config(
        budget=12.75,
        steps=200,
        step=0.765,
        final_step=1,
        random_start=False,
        target="grey",
        attack="diffusion",
    ),
    "tiny-diffusion": Config(
        budget=11,
        steps=30,
        step=None,
        final_step=1,
        random_start=False,
        target="grey",
        attack="diffusion",
        repetitions=1,
    ),
}


def protect(
    photos: Photos,
    surrogates: list[Encoder],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) whose latents, or edits, under every surrogate lie
    near the target's.
    """

    def gradient(model: Encoder) -> pgd.Gradient:
        if cfg.attack == "encoder":
            return _encoder(model, cfg, rng)
        return _diffusion(cast(LDM, model), cfg, rng)

    return ensemble.ascend_mean(
        photos,
        surrogates,
        gradient,
        cfg,
        rng,
        state,
        random_start=cfg.random_start,
        final_step=cfg.final_step,
        weights=cfg.surrogate_weights,
    )


def _encoder(ldm: Encoder, cfg: Config, rng: torch.Generator) -> pgd.Gradient:
    return losses.gradient(ldm, losses.target_distance(targets.latent(ldm, cfg.target)), rng)


def _diffusion(ldm: LDM, cfg: Config, rng: torch.Generator) -> pgd.Gradient:
    c, free = ldm.embed([cfg.prompt]), ldm.unconditional()
    x_target = send(targets.picture(cfg.target, ldm.size), ldm.device)

    def edit(z: Tensor, noise: Tensor) -> Tensor:
        scheduler, timesteps = ldm.plan(
            "ddim", round(cfg.ddim_steps / cfg.edit_strength), cfg.edit_strength
        )
        z = schedulers.noised(scheduler, z, noise, timesteps[0])
        return ldm.denoise(z, c.expand(len(z)), free, scheduler, timesteps, guidance=cfg.guidance)

    def nearness(noise: Tensor, short: bool, z: Tensor) -> Tensor:
        z_0 = checkpoint(edit, z, noise, use_reentrant=False) if short else edit(z, noise)
        return -(ldm.decode(z_0) - x_target).square().sum() / len(z) / cfg.repetitions

    def mean(short: bool, z: Tensor) -> tuple[Tensor, Tensor]:
        noises = [ldm.noise(z.shape, rng) for _ in range(cfg.repetitions)]
        # one graph at a time; from the last one on, as a backward through all of them would go
        each = [losses.from_scalar(partial(nearness, e, short))(z) for e in alike(noises[::-1])]
        values, grads = zip(*each, strict=True)
        return reduce(torch.add, values[::-1]), reduce(torch.add, grads)

    def gradient(x: Photos, which: list[int]) -> tuple[pgd.Value, Photos]:
        passes = cfg.ddim_steps * (1 if free is None or cfg.guidance == 1 else 2)
        short = ldm.low_memory or not graph_memory.fits(ldm, len(x), sampling=passes)
        loss = losses.LatentLoss(partial(mean, short), graph=True)
        return losses.gradient(ldm, loss, rng, split=short)(x, which)

    return gradient
