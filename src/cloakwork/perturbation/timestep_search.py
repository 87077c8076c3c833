"""Timesteps at which a photo's gradient is large: SimAC's greedy search (Wang et al., arXiv
2312.07865).
"""

from __future__ import annotations

import torch
from torch import Tensor

from cloakwork.models.ldm import LDM
from cloakwork.perturbation import losses, pgd
from cloakwork.state import Progress, RunState
from cloakwork.types import Photos

PROBES, DELTA_T, ENOUGH = 5, 20, 100


def search(
    ldm: LDM,
    photos: Photos,
    prompt: str,
    *,
    budget: float,
    step: float | None,
    rounds: int,
    rng: torch.Generator,
    progress: Progress | None = None,
) -> Tensor:
    """Timesteps for each photo, by the l1 norm of the denoising error's gradient: n x timesteps,
    bool.

    A round draws `PROBES` of those left, drops all within `DELTA_T` of the one where the gradient
    was smallest, and takes a PGD step at the one where it was largest; it ends for a photo when
    `ENOUGH` are left, or after `rounds`. The steps are only taken to search on: photos stay as they
    are.

    Args:
        ldm: whose denoising error it is.
        photos: each 3 x H x W in [0, 1]; they are searched side by side, each for itself.
        prompt: the words of the denoising error.
        budget, step: of PGD, 1/255.
        rounds: at most.
        rng: for everything random.
        progress: told "timesteps", the rounds done and their total.
    """
    c, T = ldm.embed([prompt]), ldm.scheduler.config.num_train_timesteps
    allowed = torch.ones(len(photos), T, dtype=torch.bool)

    def round_of(x: Photos, which: list[int]) -> tuple[float, Photos]:
        still = [k for k, i in enumerate(which) if allowed[i].sum() > ENOUGH]
        grads = [torch.zeros_like(p) for p in x]
        if not still:
            return 0.0, grads
        some, ids = [x[k] for k in still], [which[k] for k in still]

        def slope(t: Tensor) -> tuple[float, Photos]:
            return losses.gradient(ldm, losses.denoising(ldm, c, rng, t.to(ldm.device)), rng)(
                some, ids
            )

        t = torch.stack([draw(allowed[ids], rng) for _ in range(PROBES)])
        size = torch.stack(
            [torch.stack([g.abs().sum().cpu() for g in slope(probe)[1]]) for probe in t]
        )
        worst, best = (t.gather(0, at[None])[0] for at in (size.argmin(0), size.argmax(0)))
        for i, middle in zip(ids, worst.clamp(DELTA_T, T - DELTA_T).tolist(), strict=True):
            allowed[i, middle - DELTA_T : middle + DELTA_T] = False
        value, found = slope(best)
        for k, g in zip(still, found, strict=True):
            grads[k] = g
        return value, grads

    pgd.ascend(
        photos,
        round_of,
        budget=budget,
        step=step,
        steps=rounds,
        rng=rng,
        state=RunState(None, "timesteps", progress),
    )
    return allowed


def searched(
    surrogates: list[LDM],
    photos: Photos,
    prompt: str,
    *,
    budget: float,
    step: float | None,
    rounds: int,
    rng: torch.Generator,
    state: RunState,
) -> dict[str, Tensor]:
    """A search for each surrogate as it was given, by "T 0", "T 1" and so on; what an interrupted
    protection found, it keeps.
    """
    _, saved = state.resume(rng)
    return {
        f"T {j}": saved[f"T {j}"]
        if saved
        else search(
            ldm,
            photos,
            prompt,
            budget=budget,
            step=step,
            rounds=rounds,
            rng=rng,
            progress=state.progress,
        )
        for j, ldm in enumerate(surrogates)
    }


def draw(allowed: Tensor, rng: torch.Generator) -> Tensor:
    """One of the allowed timesteps for each photo, all alike likely; allowed is n x timesteps."""
    return torch.multinomial(allowed.float(), 1, generator=rng)[:, 0]
