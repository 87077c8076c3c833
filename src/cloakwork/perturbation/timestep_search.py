"""Timesteps at which a photo's gradient is large: SimAC's greedy search (Wang et al., arXiv
2312.07865).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cloakwork.models.counting import alike
from cloakwork.models.ldm import LDM
from cloakwork.models.text import Text
from cloakwork.perturbation import losses, pgd
from cloakwork.photos.tensors import send
from cloakwork.state import Progress, RunState
from cloakwork.types import Limit, Photos

PROBES = 5  # timesteps that a round looks at
DELTA_T = 20  # timesteps dropped on either side of the worst one
ENOUGH = 100  # timesteps left at which the search ends


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
    limits: Sequence[Limit] = (),
) -> Tensor:
    """Search timesteps for each photo, by the l1 norm of the denoising error's gradient.

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
        progress: called with "timesteps", the rounds done and their total.
        limits: of the photos, as in `RunState`.

    Returns:
        Which timesteps are left, n x timesteps, bool.
    """
    c, T = ldm.embed([prompt]), ldm.scheduler.config.num_train_timesteps
    allowed = torch.ones(len(photos), T, dtype=torch.bool)

    def one_round(x: Photos, which: list[int]) -> tuple[pgd.Value, Photos]:
        going_on = [k for k, i in enumerate(which) if allowed[i].sum() > ENOUGH]
        grads = [torch.zeros_like(p) for p in x]
        if not going_on:
            return 0.0, grads
        ids, left = [which[k] for k in going_on], [x[k] for k in going_on]
        value, best_grads = _probe(ldm, c, left, ids, allowed, rng)
        for k, g in zip(going_on, best_grads, strict=True):
            grads[k] = g
        return value, grads

    pgd.ascend(
        photos,
        one_round,
        budget=budget,
        step=step,
        steps=rounds,
        rng=rng,
        state=RunState(None, "timesteps", progress, limits=limits),
        steps_alike=False,  # photos end one after the other
    )
    return allowed


def _probe(
    ldm: LDM, c: Text, x: Photos, ids: list[int], allowed: Tensor, rng: torch.Generator
) -> tuple[pgd.Value, Photos]:
    """Drop the timesteps around each photo's worst probe; return the value and the gradients at the
    best ones.

    Args:
        ldm, c: the denoiser and the text it is given.
        x: some of the photos, by their numbers `ids`.
        allowed: which timesteps are left of all photos, n x timesteps, bool; changed in place.
        rng: for everything random.
    """

    def slope(t: Tensor) -> tuple[pgd.Value, Photos]:
        error = losses.denoising(ldm, c, rng, send(t, ldm.device))
        return losses.gradient(ldm, error, rng)(x, ids)

    def norms(t: Tensor) -> Tensor:
        return torch.stack([g.abs().sum() for g in slope(t)[1]])

    T = allowed.shape[1]
    t = torch.stack([draw(allowed[ids], rng) for _ in range(PROBES)])  # probes x photos
    norm = torch.stack([norms(probe) for probe in alike(t)]).cpu()  # waited for once a round
    worst, best = (t.gather(0, at[None])[0] for at in (norm.argmin(0), norm.argmax(0)))
    for i, middle in zip(ids, worst.clamp(DELTA_T, T - DELTA_T).tolist(), strict=True):
        allowed[i, middle - DELTA_T : middle + DELTA_T] = False
    return slope(best)


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
    """Search with each surrogate as it was given, or take what an interrupted protection found.

    Returns:
        Timesteps (photos x timesteps, bool) by "T 0", "T 1" and so on, in the surrogates' order.
    """
    _, saved = state.resume(rng)
    if saved:
        return {f"T {j}": saved[f"T {j}"] for j in range(len(surrogates))}
    return {
        f"T {j}": search(
            ldm,
            photos,
            prompt,
            budget=budget,
            step=step,
            rounds=rounds,
            rng=rng,
            progress=state.progress,
            limits=state.limits,
        )
        for j, ldm in enumerate(surrogates)
    }


def draw(allowed: Tensor, rng: torch.Generator) -> Tensor:
    """Draw one of the allowed timesteps for each photo, all alike likely.

    >>> draw(torch.eye(3, 1000, dtype=torch.bool), torch.Generator().manual_seed(0))
    tensor([0, 1, 2])
    """
    return torch.multinomial(allowed.float(), 1, generator=rng)[:, 0]
