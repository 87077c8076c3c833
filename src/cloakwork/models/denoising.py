"""How a model draws pictures: latents are denoised under a text, and decoded. These are methods of
`LDM`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cloakwork.models import latents, schedulers
from cloakwork.models.counting import alike
from cloakwork.models.text import Text
from cloakwork.photos.tensors import send
from cloakwork.types import Images

if TYPE_CHECKING:
    from cloakwork.models.ldm import LDM

SAMPLING_MICRO_BATCH = 8  # pictures sampled at a time


@torch.no_grad()
def sample(
    ldm: LDM,
    prompts: Sequence[str],
    n: int,
    rng: torch.Generator,
    *,
    guidance: float = 7.5,
    steps: int = 25,
    negative: str = "",
    scheduler: str = "ddim",
) -> Images:
    """Draw n pictures for each prompt.

    The starting noise is drawn first and as a whole, so picture i has the same noise whatever
    model is asked.

    Args:
        prompts: the texts.
        n: pictures for each of them.
        rng: decides everything random.
        guidance: classifier-free guidance scale (1: none).
        steps: denoising steps.
        negative: negative prompt.
        scheduler: one of `schedulers.SCHEDULERS`.

    Returns:
        (prompts x n) x 3 x S x S in [0, 1], in the prompts' order, on the CPU.

    Raises:
        UserError: an unknown scheduler, steps out of range, or an inpainting model.
    """
    c = ldm.embed([p for p in prompts for _ in range(n)])
    free = ldm.unconditional(negative)
    side = ldm.size // ldm.scale
    noise = ldm.noise((len(c), latents.channels(ldm.vae), side, side), rng)
    seeds = schedulers.seeds(scheduler, len(c), rng)
    pictures = []
    for first in range(0, len(c), SAMPLING_MICRO_BATCH):
        part = slice(first, first + SAMPLING_MICRO_BATCH)
        fresh, timesteps = ldm.plan(scheduler, steps)
        z = schedulers.pure(fresh, noise[part])
        z = ldm.denoise(
            z, c[part], free, fresh, timesteps, guidance=guidance, seeds=seeds and seeds[part]
        )
        pictures.append(ldm.decode(z).cpu())
    return torch.cat(pictures)


def plan(ldm: LDM, scheduler: str, steps: int, strength: float = 1.0) -> tuple[Any, Tensor]:
    """Make a scheduler for the model's own square; see `schedulers.plan`."""
    settings = ldm.family.schedule(ldm.scheduler, steps, (ldm.size // ldm.scale) ** 2)
    return schedulers.plan(ldm.scheduler, scheduler, steps, strength, settings)


def denoise(
    ldm: LDM,
    z: Tensor,
    held: Text,
    free: Text | None,
    scheduler: Any,
    timesteps: Tensor,
    *,
    guidance: float,
    seeds: list[int] | None = None,
    extra: Tensor | None = None,
    after: Callable[[int, Tensor], Tensor] | None = None,
) -> Tensor:
    """Denoise latents with classifier-free guidance.

    Args:
        z: latents at timesteps[0], n x c x h x w.
        held: what the pictures are to show, n.
        free: what guidance leads away from, by `unconditional`; guidance 1 is the text alone,
            and half the work.
        scheduler: one of `plan`, not used before.
        timesteps: those that it goes through.
        guidance: classifier-free guidance scale.
        seeds: one for each picture, for schedulers that draw noise (`schedulers.seeds`).
        extra: n x k x h x w, further input channels of an inpainting model.
        after: step number, latents -> latents; called after every step.
    """
    both, device = held, ldm.device
    if free is not None:
        both = Text.cat([free.expand(len(held)), held])
    elif held.guidance is not None:
        held = replace(held, guidance=torch.full_like(held.guidance, guidance))
    rngs = [torch.Generator().manual_seed(seed) for seed in seeds or []]
    # with a graph it may be recomputed in a backward, which comes when this loop is over
    counted = timesteps if torch.is_grad_enabled() else alike(timesteps)
    for i, t in enumerate(counted):
        x = schedulers.scaled(scheduler, z, t)
        x = x if extra is None else torch.cat([x, extra], 1)
        if guidance == 1 or free is None:
            e = ldm.predict(x, send(t, device), held)
        else:
            e_free, e_held = ldm.predict(x.repeat(2, 1, 1, 1), send(t, device), both).chunk(2)
            e = ldm.family.guide(e_held, e_free, guidance)
        step = scheduler.step(e, t, z, generator=rngs) if rngs else scheduler.step(e, t, z)
        z = after(i, step.prev_sample) if after else step.prev_sample
    return z
