"""Inpainting: the white part of a mask is painted anew under a text, the rest of the photo is kept.

With m the mask (1: repaint), z = E(x) and z_t the latents on their way, a text-to-image model
blends after every step (Avrahami et al., "Blended Latent Diffusion", arXiv 2206.02779; Lugmayr et
al., "RePaint", arXiv 2201.09865, eq. 8):

    z_t <- m z_t + (1 - m) (sqrt(abar_t) z + sqrt(1 - abar_t) eps)

An inpainting UNet (9 input channels) is given m and E(x (1 - m)) at every step instead, as it was
trained (Rombach et al., arXiv 2112.10752). Pictures come for each prompt, for each strength, for
each photo; noise goes by a photo's place, as in `sdedit`.

Checked against the evaluator of xavihart/Diff-Protect at ac5ffdb (an inpainting UNet, 100 steps,
guidance 7.5, no strength, known pixels pasted back; preset "paper") and the inpainting notebook of
MadryLab/photoguard at 686bea7 (100 steps, guidance 7.5, strength .7; preset "photoguard"). Follows
diffusers' StableDiffusionInpaintPipeline for both kinds of UNet.

Departures (beside the package's conventions):
- the evaluator's masks are not published: without masks a centred square is painted anew;
- a latent is painted anew if any of its pixels is white (diffusers looks at one pixel of it), so no
  white pixel is left;
- DDIM with eta 0 (photoguard: eta 1; take the scheduler ddpm for noise on the way);
- known latents keep the noise they were given first (RePaint draws new noise and goes back and
  forth; not here).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.attackers import _editing
from cloakwork.models import schedulers
from cloakwork.models.ldm import LDM
from cloakwork.photos.masks import masks_to_latents, preprocess_masks
from cloakwork.photos.preprocessing import preprocess
from cloakwork.state import RunState
from cloakwork.types import Images, Photos

VERSION = 1
TAKES_MASKS = True


@dataclass(frozen=True)
class Config:
    """Names of diffusers' inpainting."""

    strengths: tuple[float, ...] = (1.0,)
    """shares of the noise schedule that are run through, 0 to 1, each in turn (1: nothing under the
    mask is kept)"""
    steps: int = 100
    """denoising steps at strength 1"""
    guidance: float = 7.5
    """classifier-free guidance scale (1: none)"""
    negative: str = ""
    """negative prompt"""
    scheduler: str = "ddim"
    """sampler: ddim, ddpm, pndm, euler, dpm++, unipc"""
    centre: float = 0.5
    """side of the centred square that is painted anew where no masks are given, share of the
    picture's side"""
    paste_back: bool = True
    """known pixels are the photo's own (else what the autoencoder makes of them)"""


PRESETS = {
    "tiny": Config(steps=25),
    "paper": Config(),
    "photoguard": Config(strengths=(0.7,)),
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
    """Paint a part of photos (each 3 x H x W in [0, 1]) anew, under each prompt at each strength.

    Masks are 1 x H x W, of their photos' sizes, and cut with them; what is above .5 is painted
    anew.

    Returns:
        Prompts x strengths x photos pictures in this order, flat: n x 3 x S x S in [0, 1].

    Raises:
        UserError: masks that do not fit, no prompt, an unknown scheduler, steps or strengths out of
            range.
    """
    schedulers.check_scheduler(victim.scheduler, cfg.scheduler, cfg.steps, cfg.strengths)
    x = preprocess(photos, victim.size).to(victim.device)
    m = preprocess_masks(masks, photos, victim.size, cfg.centre).to(x)
    rows = _editing.draw(victim, len(photos), prompts, cfg.negative, cfg.scheduler, rng)
    z, mz = _editing.encode(victim, x, rng), masks_to_latents(m, victim.scale)
    hidden = x * (1 - m) + 0.5 * m  # mid-grey is 0 for the autoencoder
    extra = torch.cat([mz, _editing.encode(victim, hidden, rng)], 1) if victim.inpaints else None

    def edit(part: _editing.Edits, strength: float) -> Images:
        i = part.photo
        inputs = None if extra is None else extra[i]
        y = victim.decode(_repaint(victim, cfg, part, strength, z[i], mz[i], inputs))
        return m[i] * y + (1 - m[i]) * x[i] if cfg.paste_back else y

    return _editing.each(rows, cfg.strengths, edit, rng, state)


def _repaint(
    victim: LDM,
    cfg: Config,
    part: _editing.Edits,
    strength: float,
    z: Tensor,
    m: Tensor,
    extra: Tensor | None,
) -> Tensor:
    """Make latents z (n x c x h x w) anew under m (n x 1 x h x w).

    `extra` is what an inpainting UNet takes beside z_t (n x 5 x h x w); None for any other.
    """
    scheduler, timesteps = victim.plan(cfg.scheduler, cfg.steps, strength)
    if len(timesteps) == 0:
        return z
    if strength == 1:
        z_t = schedulers.pure(scheduler, part.noise)
    else:
        z_t = schedulers.noised(scheduler, z, part.noise, timesteps[0])

    def blend(i: int, z_t: Tensor) -> Tensor:
        last = i + 1 == len(timesteps)
        return m * z_t + (1 - m) * (
            z if last else schedulers.noised(scheduler, z, part.noise, timesteps[i + 1])
        )

    return victim.denoise(
        z_t,
        part.c,
        part.free,
        scheduler,
        timesteps,
        guidance=cfg.guidance,
        seeds=part.seeds,
        extra=extra,
        after=None if extra is not None else blend,
    )
