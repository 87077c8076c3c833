"""Surrogates and photos in turns, each against the other: the loop of ASPL (Van Le et al., arXiv 2303.15433) and its kin."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from cloakwork.finetuning.latent_dataset import Lesson, lesson
from cloakwork.finetuning.training import Training, learn
from cloakwork.finetuning.weights import borrowed, learnable, set_weights
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import pgd, timestep_search
from cloakwork.perturbation.schedule import Schedule, Turn
from cloakwork.perturbation.surrogates import Wording, lessons, resident, students
from cloakwork.photos.preprocessing import preprocess
from cloakwork.state import State
from cloakwork.types import Photos


@dataclass(frozen=True)
class Opponent:
    """A surrogate that learns, what it learns from, and what PGD does against it."""

    theta: LDM
    """its own copy"""
    subject: Lesson | None
    """the clean photos; None where no turn begins with them"""
    kind: Lesson | None
    """pictures of the class"""
    ascent: Callable[[LDM], pgd.Gradient]
    """what PGD raises, given theta as it is then"""


def alternate(
    photos: Photos,
    opponents: Sequence[Opponent],
    plan: Schedule,
    how: Training,
    prompt: str,
    *,
    budget: float,
    step: float | None,
    ensemble: Literal["mean", "turns"] = "mean",
    kept: Mapping[str, Tensor] | None = None,
    rng: torch.Generator,
    state: State,
) -> Photos:
    """Photos within `budget` of the originals after all turns of the plan.

    A turn: theta learns the clean photos for a while and forgets them again; PGD in between; theta learns the protected photos.

    Args:
        photos: the originals, each 3 x H x W in [0, 1].
        opponents: the surrogates; they stay as they are at the end.
        plan: the turns.
        how: how surrogates learn.
        prompt: the words under the protected photos.
        budget, step: of PGD, 1/255.
        ensemble: several surrogates' photos are averaged after each turn, or each goes on from the last one's.
        kept: what else belongs into a checkpoint.
        rng: for everything random.
        state: resumed from, and kept, after every turn.
    """
    place, x = photos[0].device, photos
    done, saved = state.resume(rng)
    if saved:
        x = [saved[f"x.{i}"].to(place) for i in range(len(photos))]
        for j, one in enumerate(opponents):
            set_weights(one.theta, {k.removeprefix(f"{j}."): v for k, v in saved.items() if k.startswith(f"{j}.")})
    if kept and not saved:
        state.keep(0, len(plan.turns), rng, lambda: _tensors(x, opponents) | dict(kept))  # it may have taken minutes
    for k, turn in enumerate(plan.turns[done:], done):
        each: list[Photos] = []
        for one in opponents:
            start = each[-1] if each and ensemble == "turns" else x
            with resident(one.theta, place) as theta:
                with _acquainted(one, turn, k, how, rng) as theta_s:
                    each.append(pgd.ascend(photos, one.ascent(theta_s), budget=budget, step=step, steps=turn.pgd, rng=rng,
                                           start=start, state=state, checkpoints=False))  # fmt: skip
                protected = lesson(theta, preprocess(each[-1], theta.size), prompt)
                later = k * (turn.before + turn.after) + turn.before
                learn(theta, protected, one.kind, how, turn.after, rng, first=k * turn.after, kind_first=later)
        x = each[-1] if ensemble == "turns" else [torch.stack(p).mean(0) for p in zip(*each, strict=True)]
        state.keep(k + 1, len(plan.turns), rng, lambda: _tensors(x, opponents) | dict(kept or {}))  # noqa: B023 - called at once
    return x


class Chosen(Wording, Protocol):
    """What a Config says of turns at timesteps that were searched beforehand."""

    @property
    def budget(self) -> float: ...
    @property
    def step(self) -> float | None: ...
    @property
    def steps(self) -> int: ...
    @property
    def outer(self) -> int: ...
    @property
    def clean_steps(self) -> int: ...
    @property
    def pgd_steps(self) -> int: ...
    @property
    def adv_steps(self) -> int: ...
    @property
    def lr(self) -> float: ...


def alternate_at_chosen(
    photos: Photos,
    surrogates: list[LDM],
    cfg: Chosen,
    ascent: Callable[[Tensor, LDM], pgd.Gradient],
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: State,
) -> Photos:
    """`alternate` after SimAC's search: photos have timesteps of their own (n x timesteps a surrogate), given to `ascent`."""
    how = Training(lr=cfg.lr)
    plan = Schedule(0, cfg.outer * [Turn(before=cfg.clean_steps, pgd=cfg.pgd_steps, after=cfg.adv_steps)])
    kept = timestep_search.searched(
        surrogates, photos, cfg.instance_prompt, budget=cfg.budget, step=cfg.step, rounds=cfg.steps, rng=rng, state=state
    )
    with students(surrogates) as thetas:
        opponents = []
        for theta, allowed in zip(thetas, kept.values(), strict=True):
            subject, kind = lessons(theta, preprocess(clean or photos, theta.size), cfg, how, plan.surrogate_steps, state)
            opponents.append(Opponent(theta, subject, kind, partial(ascent, allowed)))
        return alternate(photos, opponents, plan, how, cfg.instance_prompt, budget=cfg.budget, step=cfg.step, kept=kept,
                         rng=rng, state=state)  # fmt: skip


@contextmanager
def _acquainted(one: Opponent, turn: Turn, k: int, how: Training, rng: torch.Generator) -> Iterator[LDM]:
    """Inside, the surrogate has learned the clean photos for turn k's first steps."""
    if one.subject is None:
        yield one.theta
        return
    with borrowed(one.theta) as theta_s:
        first = k * (turn.before + turn.after)
        learn(theta_s, one.subject, one.kind, how, turn.before, rng, first=k * turn.before, kind_first=first)
        yield theta_s


def _tensors(x: Photos, opponents: Sequence[Opponent]) -> dict[str, Tensor]:
    weights = {f"{j}.{k}": v for j, one in enumerate(opponents) for k, v in learnable(one.theta).items()}
    return {f"x.{i}": p for i, p in enumerate(x)} | weights
