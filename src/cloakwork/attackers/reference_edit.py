"""Reference editing: a model that was trained to change pictures is shown a photo and told how.

Labs et al., "FLUX.1 Kontext: Flow Matching for In-Context Image Generation and Editing in Latent
Space", arXiv 2506.15742. With z = E(x), the denoiser sees z's tokens beside those of z_t at every
step, and begins with noise alone:

    x_edit = D(denoise(eps, from t = 1 to 0, under the instruction and z))

Nothing of the photo is noised, so there is no strength. The prompts are instructions, such as "give
the cat a red hat". Pictures come for each prompt, for each photo; noise goes by a photo's place, as
in `sdedit`.

Victims: FLUX.1 Kontext, FLUX.2 klein, Qwen-Image-Edit (whose language model sees the photo too; Wu
et al., arXiv 2508.02324). Steps and guidance of the preset "paper" are those of Kontext's model
card.

Checked against diffusers' FluxKontextPipeline, Flux2KleinPipeline and QwenImageEditPipeline
(0.42.1); the authors' code was not read.

Departures (beside the package's conventions):
- photos are cut to their centre square, and seen at the victim's own size (the pipelines keep the
  shape, at sizes of about the same area);
- one photo is shown at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from cloakwork.attackers import _editing
from cloakwork.errors import UserError
from cloakwork.models import schedulers
from cloakwork.models.ldm import LDM
from cloakwork.photos.preprocessing import preprocess
from cloakwork.state import RunState
from cloakwork.types import Images, Photos

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Names of diffusers' pipelines."""

    steps: int = 28
    """denoising steps"""
    guidance: float = 2.5
    """guidance scale: what FLUX.1 Kontext is told, or the scale of two passes (1: one pass)"""
    negative: str = ""
    """negative prompt"""
    scheduler: str = "euler"
    """sampler: euler"""


PRESETS = {"tiny": Config(steps=4), "paper": Config()}


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
    """Edit photos (each 3 x H x W in [0, 1]) as each prompt says.

    `masks` are not used.

    Returns:
        Prompts x photos pictures in this order, flat: n x 3 x S x S in [0, 1].

    Raises:
        UserError: a victim that is no editor, no prompt, an unknown scheduler, or steps out of
            range.
    """
    if not victim.edits:
        raise UserError(
            f"'{victim.name}' is no model that edits a picture which it is shown; give a folder of "
            "FLUX.1 Kontext, FLUX.2 klein or Qwen-Image-Edit, or take the attacker sdedit."
        )
    schedulers.check_scheduler(victim.scheduler, cfg.scheduler, cfg.steps, [1])
    rows = _editing.draw(victim, len(photos), prompts, cfg.negative, cfg.scheduler, rng)
    x = preprocess(photos, victim.size)
    x, z = x[rows.photo], _editing.encode(victim, x, rng)[rows.photo]
    told = victim.instruct([p for p in prompts for _ in photos], x, z)
    free = None if rows.free is None else victim.instruct([cfg.negative] * len(x), x, z)
    rows = replace(rows, c=told, free=free)

    def edit(part: _editing.Edits, _: float) -> Images:
        scheduler, timesteps = victim.plan(cfg.scheduler, cfg.steps)
        z_t = schedulers.pure(scheduler, part.noise)
        return victim.decode(
            victim.denoise(z_t, part.c, part.free, scheduler, timesteps, guidance=cfg.guidance)
        )

    return _editing.each(rows, [1], edit, rng, state)
