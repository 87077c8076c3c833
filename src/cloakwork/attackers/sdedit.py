"""SDEdit: photos are noised part of the way and denoised under another text ("image to image").

Meng et al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations",
arXiv 2108.01073, on latents: with z = E(x), t the timestep at `strength` of the schedule and eps ~
N(0, I),

    x_edit = D(denoise(sqrt(abar_t) z + sqrt(1 - abar_t) eps, from t to 0, under the prompt))

As in diffusers' img2img, the last int(steps * strength) of `steps` steps are done; a strength of 0
gives the autoencoder's round trip. Pictures come for each prompt, for each strength, for each
photo. The strengths of one prompt and photo share their noise, and noise goes by a photo's place,
so that clean and protected photos in the same order are edited alike.

Checked against the evaluator of xavihart/Diff-Protect at ac5ffdb (strengths .01 .05 .1 .2 .3 of 100
DDIM steps, eta 0, no guidance, the prompt of the protection; preset "paper") and the img2img
notebook of MadryLab/photoguard at 686bea7 (strength .5 of 50 steps, guidance 7.5; preset
"photoguard").

Departures (beside the package's conventions):
- denoising begins at the timestep whose noise was added; the evaluator begins one step lower, so a
  little noise stays;
- its one-step edits (a single estimate of z at t) are not here;
- photos are cut to their centre square (the evaluator squeezes them to a square, whatever their
  shape);
- schedulers other than DDIM are a choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cloakwork.attackers import _editing
from cloakwork.models import schedulers
from cloakwork.models.ldm import LDM
from cloakwork.photos.preprocessing import preprocess
from cloakwork.state import RunState
from cloakwork.types import Images, Photos

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Names of diffusers' img2img."""

    strengths: tuple[float, ...] = (0.01, 0.05, 0.1, 0.2, 0.3)
    """shares of the noise schedule that are run through, 0 to 1, each in turn"""
    steps: int = 100
    """denoising steps at strength 1"""
    guidance: float = 1.0
    """classifier-free guidance scale (1: none)"""
    negative: str = ""
    """negative prompt"""
    scheduler: str = "ddim"
    """sampler: ddim, ddpm, pndm, euler, dpm++, unipc"""


PRESETS = {
    "tiny": Config(strengths=(0.1, 0.2, 0.3, 0.5), steps=50, guidance=7.5),
    "paper": Config(),
    "photoguard": Config(strengths=(0.5,), steps=50, guidance=7.5),
}


@torch.no_grad()
def attack(
    photos: Photos,
    victim: LDM,
    cfg: Config,
    prompts: list[str],
    *,
    masks: Photos | None = None,
    rng: torch.Generator,
    state: RunState,
) -> Images:
    """Edit photos (each 3 x H x W in [0, 1]) under each prompt at each strength.

    `masks` are not used.

    Returns:
        Prompts x strengths x photos pictures in this order, flat: n x 3 x S x S in [0, 1].

    Raises:
        UserError: no prompt, an unknown scheduler, steps or strengths out of range, or an
            inpainting model.
    """
    schedulers.check_scheduler(victim.scheduler, cfg.scheduler, cfg.steps, cfg.strengths)
    rows = _editing.draw(victim, len(photos), prompts, cfg.negative, cfg.scheduler, rng)
    z = _editing.encode(victim, preprocess(photos, victim.size), rng)

    def edit(part: _editing.Edits, strength: float) -> Images:
        z_0 = z[part.photo]
        scheduler, timesteps = victim.plan(cfg.scheduler, cfg.steps, strength)
        if len(timesteps) == 0:
            return victim.decode(z_0)
        z_t = schedulers.noised(scheduler, z_0, part.noise, timesteps[0])
        z_0 = victim.denoise(
            z_t, part.c, part.free, scheduler, timesteps, guidance=cfg.guidance, seeds=part.seeds
        )
        return victim.decode(z_0)

    return _editing.each(rows, cfg.strengths, edit, rng, state)
