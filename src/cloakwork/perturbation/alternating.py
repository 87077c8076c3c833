"""Surrogates and photos in turns, each against the other: the loop of ASPL (Van Le et al., arXiv
2303.15433) and its kin.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor

from cloakwork.finetuning.latent_dataset import LatentDataset, encode_dataset
from cloakwork.finetuning.training import Training, train_steps
from cloakwork.finetuning.weights import learnable, set_weights, temporarily_trained
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import pgd, timestep_search
from cloakwork.perturbation.schedule import Schedule, Turn
from cloakwork.perturbation.surrogates import PromptConfig, lessons, on_device, trainable_copies
from cloakwork.photos.preprocessing import preprocess
from cloakwork.state import RunState
from cloakwork.types import Photos


@dataclass(frozen=True)
class LearningSurrogate:
    """A surrogate that learns, what it learns from, and what PGD does against it."""

    theta: LDM
    """its own copy"""
    subject: LatentDataset | None
    """the clean photos; None where no turn begins with them"""
    kind: LatentDataset | None
    """pictures of the class"""
    ascent: Callable[[LDM], pgd.Gradient]
    """what PGD raises, given theta as it is then"""


def alternate(
    photos: Photos,
    opponents: Sequence[LearningSurrogate],
    plan: Schedule,
    how: Training,
    prompt: str,
    *,
    budget: float,
    step: float | None,
    ensemble: Literal["mean", "turns"] = "mean",
    kept: Mapping[str, Tensor] | None = None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Photos within `budget` of the originals after all turns of the plan.

    A turn: theta learns the clean photos for a while and forgets them again; PGD in between; theta
    learns the protected photos.

    Args:
        photos: the originals, each 3 x H x W in [0, 1].
        opponents: the surrogates; they stay as they are at the end.
        plan: the turns.
        how: how surrogates learn.
        prompt: the words under the protected photos.
        budget, step: of PGD, 1/255.
        ensemble: several surrogates' photos are averaged after each turn, or each goes on from the
            last one's.
        kept: what else belongs into a checkpoint.
        rng: for everything random.
        state: resumed from, and kept, after every turn.
    """
    place, x = photos[0].device, photos
    done, saved = state.resume(rng)
    if saved:
        x = [saved[f"x.{i}"].to(place) for i in range(len(photos))]
        for j, one in enumerate(opponents):
            set_weights(
                one.theta,
                {k.removeprefix(f"{j}."): v for k, v in saved.items() if k.startswith(f"{j}.")},
            )
    if kept and not saved:
        state.checkpoint(
            0, len(plan.turns), rng, lambda: _tensors(x, opponents) | dict(kept)
        )  # it may have taken minutes
    for k, turn in enumerate(plan.turns[done:], done):
        each: list[Photos] = []
        for one in opponents:
            start = each[-1] if each and ensemble == "turns" else x
            with on_device(one.theta, place) as theta:
                with trained_on_clean(one, turn, k, how, rng) as theta_s:
                    each.append(
                        pgd.ascend(
                            photos,
                            one.ascent(theta_s),
                            budget=budget,
                            step=step,
                            steps=turn.pgd,
                            rng=rng,
                            start=start,
                            state=state,
                            checkpoints=False,
                        )
                    )
                protected = encode_dataset(theta, preprocess(each[-1], theta.size), prompt)
                later = k * (turn.lookahead_steps + turn.kept_steps) + turn.lookahead_steps
                train_steps(
                    theta,
                    protected,
                    one.kind,
                    how,
                    turn.kept_steps,
                    rng,
                    first=k * turn.kept_steps,
                    kind_first=later,
                )
        x = (
            each[-1]
            if ensemble == "turns"
            else [torch.stack(p).mean(0) for p in zip(*each, strict=True)]
        )
        state.checkpoint(
            k + 1,
            len(plan.turns),
            rng,
            lambda: _tensors(x, opponents) | dict(kept or {}),  # noqa: B023 - called at once
        )
    return x


class Chosen(PromptConfig, Protocol):
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
    state: RunState,
) -> Photos:
    """`alternate` after SimAC's search: photos have timesteps of their own (n x timesteps a
    surrogate), given to `ascent`.
    """
    how = Training(lr=cfg.lr)
    plan = Schedule(
        0,
        cfg.outer
        * [Turn(lookahead_steps=cfg.clean_steps, pgd=cfg.pgd_steps, kept_steps=cfg.adv_steps)],
    )
    kept = timestep_search.searched(
        surrogates,
        photos,
        cfg.instance_prompt,
        budget=cfg.budget,
        step=cfg.step,
        rounds=cfg.steps,
        rng=rng,
        state=state,
    )
    with trainable_copies(surrogates) as thetas:
        opponents = []
        for theta, allowed in zip(thetas, kept.values(), strict=True):
            subject, kind = lessons(
                theta,
                preprocess(clean or photos, theta.size),
                cfg,
                how,
                plan.surrogate_steps,
                state,
            )
            opponents.append(LearningSurrogate(theta, subject, kind, partial(ascent, allowed)))
        return alternate(
            photos,
            opponents,
            plan,
            how,
            cfg.instance_prompt,
            budget=cfg.budget,
            step=cfg.step,
            kept=kept,
            rng=rng,
            state=state,
        )


@contextmanager
def trained_on_clean(
    one: LearningSurrogate, turn: Turn, k: int, how: Training, rng: torch.Generator
) -> Iterator[LDM]:
    """Inside, the surrogate has learned the clean photos for turn k's first steps."""
    if one.subject is None:
        yield one.theta
        return
    with temporarily_trained(one.theta) as theta_s:
        first = k * (turn.lookahead_steps + turn.kept_steps)
        train_steps(
            theta_s,
            one.subject,
            one.kind,
            how,
            turn.lookahead_steps,
            rng,
            first=k * turn.lookahead_steps,
            kind_first=first,
        )
        yield theta_s


def _tensors(x: Photos, opponents: Sequence[LearningSurrogate]) -> dict[str, Tensor]:
    weights = {
        f"{j}.{k}": v for j, one in enumerate(opponents) for k, v in learnable(one.theta).items()
    }
    return {f"x.{i}": p for i, p in enumerate(x)} | weights
