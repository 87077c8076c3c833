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
from cloakwork.perturbation.ensemble import PGDConfig
from cloakwork.perturbation.schedule import Schedule, Turn
from cloakwork.perturbation.surrogates import (
    PromptConfig,
    encode_lessons,
    on_device,
    trainable_copies,
)
from cloakwork.photos.preprocessing import preprocess
from cloakwork.state import RunState, numbered, owned, photos_of
from cloakwork.types import Photos


@dataclass(frozen=True)
class LearningSurrogate:
    """A surrogate that learns, what it learns from, and what PGD does against it."""

    theta: LDM
    """its own copy"""
    subject: LatentDataset | None
    """the clean photos; None where no turn begins with them"""
    prior: LatentDataset | None
    """pictures of the class"""
    ascent: Callable[[LDM], pgd.Gradient]
    """what PGD raises, given theta as it is then"""


def alternate(
    photos: Photos,
    learners: Sequence[LearningSurrogate],
    plan: Schedule,
    training: Training,
    prompt: str,
    *,
    budget: float,
    step: float | None,
    ensemble: Literal["mean", "turns"] = "mean",
    extra: Mapping[str, Tensor] | None = None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Perturb the photos, within `budget` of the originals, through all turns of the plan.

    A turn: theta learns the clean photos for a while and forgets them again; PGD in between; theta
    learns the protected photos.

    Args:
        photos: the originals, each 3 x H x W in [0, 1].
        learners: the surrogates; they stay as they are at the end.
        plan: the turns.
        training: how surrogates learn.
        prompt: the words under the protected photos.
        budget, step: of PGD, 1/255.
        ensemble: several surrogates' photos are averaged after each turn, or each goes on from the
            last one's.
        extra: what else belongs into a checkpoint.
        rng: for everything random.
        state: resumed from, and kept, after every turn.

    Returns:
        As many photos of the same sizes.
    """
    x, turns, others = state.start or photos, len(plan.turns), dict(extra or {})
    done, saved = state.resume(rng)
    if saved:
        x = _restored(saved, photos, learners)
    elif others:
        # making what is extra may have taken minutes
        state.checkpoint(0, turns, rng, lambda: _tensors(x, learners) | others)
    perturb = partial(pgd.ascend, photos, budget=budget, step=step, rng=rng, state=state)
    for k, turn in plan.after(done):
        results: list[Photos] = []
        for learner in learners:
            begin = results[-1] if results and ensemble == "turns" else x
            with on_device(learner.theta, photos[0].device):
                with trained_on_clean(learner, turn, k, training, rng) as theta_s:
                    ascent = learner.ascent(theta_s)
                    made = perturb(ascent, steps=turn.pgd, start=begin, checkpoints=False)
                results.append(made)
                _learn_protected(learner, made, prompt, turn, k, training, rng)
        if ensemble == "turns":
            x = results[-1]
        else:
            x = [torch.stack(p).mean(0) for p in zip(*results, strict=True)]
        state.checkpoint(k + 1, turns, rng, lambda: _tensors(x, learners) | others)  # noqa: B023 - called at once
    return x


def _learn_protected(
    learner: LearningSurrogate,
    protected: Photos,
    prompt: str,
    turn: Turn,
    k: int,
    training: Training,
    rng: torch.Generator,
) -> None:
    """Let a surrogate learn the protected photos for turn k's last steps."""
    theta = learner.theta
    train_steps(
        theta,
        encode_dataset(theta, preprocess(protected, theta.size), prompt),
        learner.prior,
        training,
        turn.kept_steps,
        rng,
        first=k * turn.kept_steps,
        prior_first=_first_of_prior(k, turn) + turn.lookahead_steps,
    )


class SearchConfig(PromptConfig, PGDConfig, Protocol):
    """What a Config says of turns at timesteps that were searched beforehand."""

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
    cfg: SearchConfig,
    ascent: Callable[[Tensor, LDM], pgd.Gradient],
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Search timesteps for every photo as SimAC does, then `alternate` at those.

    Args:
        photos: the originals, each 3 x H x W in [0, 1].
        surrogates: each is searched with, and a copy of it learns.
        cfg: of search and turns.
        ascent: what PGD raises, given the timesteps of a surrogate (photos x timesteps, bool) and
            the surrogate as it is then.
        clean: unprotected photos to learn from, if there are any beside `photos`.
        rng: for everything random.
        state: resumed from, and kept, after every turn.
    """
    training = Training(lr=cfg.lr)
    turn = Turn(lookahead_steps=cfg.clean_steps, pgd=cfg.pgd_steps, kept_steps=cfg.adv_steps)
    plan = Schedule(0, cfg.outer * [turn])
    how = {"budget": cfg.budget, "step": cfg.step, "rng": rng, "state": state}
    timesteps = timestep_search.searched(
        surrogates, photos, cfg.instance_prompt, rounds=cfg.steps, **how
    )
    with trainable_copies(surrogates) as thetas:
        learners = []
        for theta, allowed in zip(thetas, timesteps.values(), strict=True):
            pictures = preprocess(clean or photos, theta.size)
            subject, prior = encode_lessons(
                theta, pictures, cfg, training, plan.surrogate_steps, state
            )
            learners.append(LearningSurrogate(theta, subject, prior, partial(ascent, allowed)))
        return alternate(
            photos, learners, plan, training, cfg.instance_prompt, extra=timesteps, **how
        )


@contextmanager
def trained_on_clean(
    learner: LearningSurrogate, turn: Turn, k: int, training: Training, rng: torch.Generator
) -> Iterator[LDM]:
    """Lend a surrogate that has learned the clean photos for turn k's first steps; it forgets them
    afterwards.
    """
    if learner.subject is None:
        yield learner.theta
        return
    with temporarily_trained(learner.theta) as theta_s:
        train_steps(
            theta_s,
            learner.subject,
            learner.prior,
            training,
            turn.lookahead_steps,
            rng,
            first=k * turn.lookahead_steps,
            prior_first=_first_of_prior(k, turn),
        )
        yield theta_s


def _first_of_prior(k: int, turn: Turn) -> int:
    """Return the number of the first batch of class pictures in turn k, all turns being alike."""
    return k * (turn.lookahead_steps + turn.kept_steps)


def _tensors(x: Photos, learners: Sequence[LearningSurrogate]) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for j, learner in enumerate(learners):
        weights |= {f"{j}.{k}": v for k, v in learnable(learner.theta).items()}
    return numbered(x) | weights


def _restored(
    saved: Mapping[str, Tensor], photos: Photos, learners: Sequence[LearningSurrogate]
) -> Photos:
    """Return the photos of a checkpoint, and put the learners' weights back."""
    for j, learner in enumerate(learners):
        set_weights(learner.theta, owned(saved, f"{j}."))
    return photos_of(saved, photos)
