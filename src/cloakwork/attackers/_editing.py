"""What the editors share: every prompt x strength x photo, with noise that does not depend on how
they are batched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.models import latents, schedulers
from cloakwork.models.denoising import SAMPLING_MICRO_BATCH
from cloakwork.models.ldm import LDM
from cloakwork.models.text import Text
from cloakwork.state import RunState
from cloakwork.types import Images


@dataclass(frozen=True)
class Edits:
    """Rows, one for each prompt x photo, the prompt outside: texts and all that is random."""

    photo: list[int]
    """the photo's place"""
    noise: Tensor
    """rows x c x h x w; a row's strengths share it, so that they can be compared"""
    seeds: list[int] | None
    """for schedulers that draw noise on their way"""
    c: Text
    """of each row"""
    free: Text | None
    """what guidance leads away from, of each row or one for all"""

    def pick(self, which: list[int]) -> Edits:
        """Return the rows of these numbers."""
        seeds = None if self.seeds is None else [self.seeds[r] for r in which]
        free = self.free
        return Edits(
            [self.photo[r] for r in which],
            self.noise[which],
            seeds,
            self.c[which],
            free if free is None or len(free) == 1 else free[which],
        )


def draw(
    victim: LDM,
    photos: int,
    prompts: Sequence[str],
    negative: str,
    scheduler: str,
    rng: torch.Generator,
) -> Edits:
    """Draw texts and noise for so many photos.

    Raises:
        UserError: there is no prompt.
    """
    if not prompts:
        raise UserError(
            "No prompt was given; an editor needs at least one, which says what the pictures are "
            "to show."
        )
    n, side = len(prompts) * photos, victim.size // victim.scale
    noise = victim.noise((n, latents.channels(victim.vae), side, side), rng)
    c = victim.embed([p for p in prompts for _ in range(photos)])
    return Edits(
        list(range(photos)) * len(prompts),
        noise,
        schedulers.seeds(scheduler, n, rng),
        c,
        victim.unconditional(negative),
    )


def encode(victim: LDM, x: Images, rng: torch.Generator) -> Tensor:
    """Encode any number of pictures (n x 3 x S x S in [0, 1]) to scaled latents."""
    return torch.cat(
        [victim.encode(part.to(victim.device), rng) for part in x.split(SAMPLING_MICRO_BATCH)]
    )


def each(
    rows: Edits,
    strengths: Sequence[float],
    edit: Callable[[Edits, float], Images],
    rng: torch.Generator,
    state: RunState,
) -> Images:
    """Edit all rows at all strengths.

    Args:
        rows: what is edited.
        strengths: each in turn.
        edit: makes the pictures of at most SAMPLING_MICRO_BATCH rows at one strength.
        rng: whose state belongs into the checkpoints.
        state: holds finished pictures; an interrupted run goes on from it.

    Returns:
        Pictures for each prompt, for each strength, for each photo, in this order, on the CPU.
    """
    n = len(rows.photo)
    jobs = [
        (which.tolist(), s)
        for s in strengths
        for which in torch.arange(n).split(SAMPLING_MICRO_BATCH)
    ]
    done, saved = state.resume(rng)
    pictures = [saved[str(i)] for i in range(done)]
    for i in range(done, len(jobs)):
        which, strength = jobs[i]
        pictures.append(edit(rows.pick(which), strength).cpu())
        state.checkpoint(i + 1, len(jobs), rng, lambda: {str(i): p for i, p in enumerate(pictures)})
    x = torch.cat(pictures)  # strengths x prompts x photos
    return x.unflatten(0, (len(strengths), -1, max(rows.photo) + 1)).transpose(0, 1).flatten(0, 2)
