"""MetaCloak: photos are perturbed through random transformations, against a pool of surrogates at
various stages of learning.

Liu et al., "MetaCloak: Preventing Unauthorized Subject-driven Text-to-image Diffusion-based
Synthesis via Meta-learning", arXiv 2311.13127. L_gen is the denoising error, L_db DreamBooth's
loss, T the transformations. Algorithm 1 (variant "paper"):

    pool[m] <- DreamBooth on the clean photos for floor(m surrogate_steps / M) steps, m = 1..M
    repeat `steps` times (C), for each of B members drawn from the pool:
        w       <- pool[m] after K steps on L_db(T(x'))                      # first order only
        L[m, j] <- L_gen(t_j(x'); w),  t_j ~ T,  j = 1..J
        pool[m] <- pool[m] after a step on L_db(T(x'))
      x' <- x' + step sign(grad of mean L[m, j]), within the budget

The released loop (variant "release"): `trials` times, for each snapshot of one training, `interval`
/ `advance` times: `pgd_steps` sign steps through T, then `advance` steps on L_db(x'); the next
trial begins with the same snapshots.

Checked against liuyixin-louis/MetaCloak at 67bcf70 (snapshots before the update of step 0, 199,
399, 599, 799 and 999; 4 trials, 6 PGD and 2 training steps, 1 + 1 pictures, lr 5e-7; budget 11/255;
blur of kernel 7, sigma .1 to 2, at 512 pixels, and flips).

Departures (beside the package's conventions):
- C, M, B, K, J and surrogate_steps of the preset "paper" could not be checked against the paper's
  text; the pool's members are snapshots of one training, drawn without repetition; training steps
  are AdamW's, anew at each call, clipped to norm 1;
- of the release's defects the preset "bf16" has the bf16 weights and the lack of clipping; not here
  are photos of 0 to 255 where the autoencoder expects -1 to 1, class pictures 0 and 1 only, photos
  in fp16, one blur and one flip for the whole batch;
- the pool learns `clean` photos, if given; class pictures take 25 DDIM steps (there 50); the laptop
  presets have short schedules and less blur.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import torch

from cloakwork.errors import check_ranges
from cloakwork.finetuning.sampling import draw_seed
from cloakwork.finetuning.training import Training
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import ensemble, losses, pgd
from cloakwork.perturbation.schedule import Schedule, Turn
from cloakwork.perturbation.surrogates import (
    Pool,
    frozen_gradient,
    make_snapshots,
    trainable_copies,
)
from cloakwork.photos.preprocessing import CENTRE, Preprocessing, preprocess
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 2  # 1 learned subject and class in two passes: other rounding


@dataclass(frozen=True)
class Config:
    """Names of the paper and its release; budgets in 1/255."""

    budget: float = 11
    """largest change of a pixel, 1/255"""
    strength: Strength = field(default="uniform", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """how the budget follows the photo: not at all; or less where the eye would notice a change"""
    start: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """a protection that PGD starts from, such as learned, with which fewer steps may do (empty: the
    photo itself)"""
    step: float | None = None
    """change per PGD step, 1/255 (none: budget / 10)"""
    variant: Literal["paper", "release"] = "paper"
    """Algorithm 1 of the paper, or the released loop"""
    steps: int = 4000
    """paper: crafting steps, C"""
    M: int = 5
    """paper: members of the pool, of each surrogate"""
    B: int = 1
    """paper: members drawn for a step"""
    K: int = 1
    """paper: training steps that a member looks ahead"""
    J: int = 1
    """paper: transformations that a member's gradient is averaged over"""
    trials: int = 4
    """release: times that it goes through the pool (total_trail_num)"""
    interval: int = 200
    """release: training steps between snapshots"""
    advance: int = 2
    """release: training steps after each call of PGD"""
    pgd_steps: int = 6
    """release: PGD steps a call"""
    surrogate_steps: int = 1000
    """training steps of the pool's most advanced member, N_max"""
    training: Training = field(default_factory=lambda: Training(lr=5e-7))
    """how surrogates learn"""
    transform: Preprocessing = field(
        default_factory=lambda: Preprocessing(crop="slide", flip=0.5, blur=7, blur_sigma=(0.1, 2.0))
    )
    """T: what may happen to the photos before they are learned"""
    class_images: int = 200
    """most class pictures a surrogate makes"""
    class_sampling_steps: int = field(default=25, metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """DDIM steps that a class picture takes"""
    instance_prompt: str = field(default="a photo of sks person", metadata=SUBJECT_PROMPT)
    """what the attacker is expected to write under the photos"""
    class_prompt: str = field(default="a photo of person", metadata=SUBJECT_PROMPT)
    """what the class pictures show"""


TINY = Config(
    steps=60,
    M=4,
    surrogate_steps=120,
    training=Training(lr=3e-4),
    class_images=16,
    transform=Preprocessing(crop="slide", flip=0.5, blur=3, blur_sigma=(0.1, 0.5)),
)
PRESETS = {
    "tiny": TINY,
    "tiny-release": replace(TINY, variant="release", interval=20, surrogate_steps=100),
    "paper": Config(),
    "release": Config(variant="release"),
    "bf16": Config(variant="release", training=Training(lr=5e-7, weights="bfloat16", clip=0)),
}
# the pool's members share the steps; in so few of them, class pictures would only cost time
BRIEF = Training(lr=3e-4, prior_weight=0)
TRIAL = {"steps": 40, "step": 2.2, "M": 2, "surrogate_steps": 16, "training": BRIEF}


def schedule(cfg: Config, surrogates: int = 1) -> Schedule:
    """Plan what is done, in this order; which members take part in the paper's steps is left to
    chance.
    """
    check_ranges(cfg, **dict.fromkeys(("M", "B", "J", "interval", "advance"), (1, float("inf"))))
    if cfg.variant == "paper":
        turns = cfg.steps * [Turn(lookahead_steps=cfg.K, pgd=1, kept_steps=1, members=cfg.B)]
    else:
        turns = cfg.trials * [
            Turn(pgd=cfg.pgd_steps, kept_steps=cfg.advance, member=m, restart=i == 0)
            for m in range(surrogates * len(pool_steps(cfg)))
            for i in range(cfg.interval // cfg.advance)
        ]
    return Schedule(surrogates * cfg.surrogate_steps, turns)


def pool_steps(cfg: Config) -> list[int]:
    """Return the training steps that the pool's members have behind them."""
    if cfg.variant == "paper":
        return [m * cfg.surrogate_steps // cfg.M for m in range(1, cfg.M + 1)]
    return [0, *range(cfg.interval - 1, cfg.surrogate_steps, cfg.interval)]


def protect(
    photos: Photos,
    surrogates: list[LDM],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) that no stage of learning the subject can denoise,
    however they were transformed.
    """
    plan, seed, pool = schedule(cfg, len(surrogates)), draw_seed(rng), Pool()
    with trainable_copies(surrogates) as thetas:
        for theta in thetas:
            pictures = preprocess(clean or photos, theta.size)
            pool.members += make_snapshots(theta, pictures, cfg, pool_steps(cfg), seed, state)
        done, x = pool.resume(state, rng, state.start or photos)
        for k, turn in plan.after(done):
            x = _craft(k, turn, x, photos, pool, cfg, rng, state)
            state.checkpoint(k + 1, len(plan.turns), rng, lambda: pool.tensors(x))  # noqa: B023 - called at once
    return x


def _craft(
    k: int,
    turn: Turn,
    x: Photos,
    photos: Photos,
    pool: Pool,
    cfg: Config,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return the photos after the k-th turn, and train the members that take part."""
    paper, device, drawn = cfg.variant == "paper", photos[0].device, pool.draw(turn, rng)
    loader, gradients = cfg.transform if paper else CENTRE, []
    for m in drawn:
        with pool.at(m, device) as w:
            pool.train(m, x, cfg, turn.lookahead_steps, k, loader, rng)
            error = losses.denoising(w, w.embed([cfg.instance_prompt]), rng)
            often = ensemble.mean(cfg.J * [losses.gradient(w, error, rng, loader=cfg.transform)])
            gradients.append(frozen_gradient(w, often, alone=len(drawn) == 1))
    ahead = pgd.ascend(
        photos,
        ensemble.mean(gradients),
        budget=cfg.budget,
        step=cfg.step,
        steps=turn.pgd,
        rng=rng,
        start=x,
        state=state,
        checkpoints=False,
    )
    for m in drawn:
        with pool.at(m, device):
            pool.train(m, x if paper else ahead, cfg, turn.kept_steps, k, loader, rng)
            pool.keep(m)
    return ahead
