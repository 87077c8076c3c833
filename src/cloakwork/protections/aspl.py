"""ASPL, Anti-DreamBooth: the surrogate learns and the photos are perturbed in turns, each against the other.

Van Le et al., "Anti-DreamBooth", arXiv 2303.15433, alternating surrogate and perturbation learning. With A the clean photos,
x' the protected ones, L the denoising error under "a photo of sks person" and L_pr the same on pictures of the class:

    repeat `outer` times:
        theta_s <- theta after `clean_steps` of AdamW on L(theta_s, A) + L_pr
        x'      <- `pgd_steps` sign steps that raise L(theta_s, x'), within the budget of the photos
        theta   <- theta after `adv_steps` of AdamW on L(theta, x') + L_pr

Checked against VinAIResearch/Anti-DreamBooth at c97e891 (50 x (3 + 6 + 3), lr 5e-7, budget .05 on [-1, 1] = 6.4/255, step
.005 on [-1, 1] = .64/255).

Departures:
- weights are kept in fp32 and arithmetic is fp32; the release keeps bf16 weights, in which lr 5e-7 moves less than 1 % of
  them (preset "bf16" rounds the weights after every step, and nothing else of the release);
- gradients of the weights are clipped to norm 1, as the release means to (it hands the clipping an empty iterator);
- successive calls go round all photos and all class pictures (the release restarts at the first, so it uses three), and only
  as many class pictures are drawn as the schedule uses (25 DDIM steps, guidance 7.5);
- latents come from the posterior's mean, and those of A and the class pictures are encoded once;
- without set A (`clean`) the photos themselves, unprotected, are what theta_s learns from;
- photos of any size: PGD cuts its square at random along the long side, while the surrogate learns from the centre;
- the targeted form (T-ASPL) is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cloakwork import eot, pgd
from cloakwork.ldm import LDM
from cloakwork.personalize import Lesson, Precision, Training, borrowed, class_pictures, learn, lesson, set_weights, weights_of
from cloakwork.state import State
from cloakwork.types import Photos

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Names of the paper and its release; budgets in 1/255."""

    budget: float = 6.4
    """largest change of a pixel, 1/255"""
    outer: int = 50
    """outer iterations (release: max_train_steps)"""
    clean_steps: int = 3
    """surrogate steps on clean photos a turn (max_f_train_steps)"""
    pgd_steps: int = 6
    """PGD steps a turn (max_adv_train_steps)"""
    adv_steps: int = 3
    """surrogate steps on protected photos a turn"""
    step: float | None = 0.64
    """change per PGD step, 1/255 (none: budget / 10)"""
    lr: float = 5e-7
    """the surrogate's learning rate"""
    weights: Precision = "float32"
    """precision the surrogate's weights are kept in"""
    text_encoder: bool = True
    """the surrogate's text encoder learns too"""
    prior_weight: float = 1.0
    """weight of the loss on class pictures (0: none are made)"""
    class_images: int = 200
    """most class pictures the surrogate makes before it learns"""
    ensemble: Literal["mean", "turns"] = "mean"
    """several surrogates: their photos are averaged (E-ASPL), or each goes on from the last one's"""
    instance_prompt: str = "a photo of sks person"
    """what the thief is thought to write under the photos"""
    class_prompt: str = "a photo of person"
    """what the class pictures show"""


PRESETS = {
    # the surrogate learns at the thief's own rate: at 5e-7 a small model does not move
    "tiny": Config(budget=11, step=None, lr=1e-4, class_images=16),
    "paper": Config(),
    "bf16": Config(weights="bfloat16"),
}


def protect(
    photos: Photos, surrogates: list[LDM], cfg: Config, *, clean: Photos | None, rng: torch.Generator, state: State
) -> Photos:
    """Photos (each 3 x H x W in [0, 1]) from which a model that learns them cannot learn the subject."""
    how = Training(lr=cfg.lr, prior_weight=cfg.prior_weight, text_encoder=cfg.text_encoder, weights=cfg.weights)
    lessons = [_lessons(ldm, clean or photos, cfg, state) for ldm in surrogates]
    thetas = [ldm.copy() for ldm in surrogates]
    x = photos
    done, saved = state.resume(rng)
    if saved:
        x = [saved[f"x.{i}"].to(p.device) for i, p in enumerate(photos)]
        for j, theta in enumerate(thetas):
            set_weights(theta, {k.removeprefix(f"{j}."): v for k, v in saved.items() if k.startswith(f"{j}.")})
    for k in range(done, cfg.outer):
        turn = k * (cfg.clean_steps + cfg.adv_steps)
        each = []
        for theta, (subject, kind) in zip(thetas, lessons, strict=True):
            start = each[-1] if each and cfg.ensemble == "turns" else x
            with borrowed(theta) as theta_s:
                learn(theta_s, subject, kind, how, cfg.clean_steps, rng, first=k * cfg.clean_steps, kind_first=turn)
                each.append(_perturb(theta_s, photos, start, cfg, rng, state))
            protected = lesson(theta, eot.view(each[-1], theta.size), cfg.instance_prompt)
            learn(theta, protected, kind, how, cfg.adv_steps, rng, first=k * cfg.adv_steps, kind_first=turn + cfg.clean_steps)
        x = each[-1] if cfg.ensemble == "turns" else [torch.stack(p).mean(0) for p in zip(*each, strict=True)]
        state.keep(k + 1, cfg.outer, rng, lambda: _tensors(x, thetas))  # noqa: B023 - called at once
    return x


def _lessons(ldm: LDM, clean: Photos, cfg: Config, state: State) -> tuple[Lesson, Lesson | None]:
    """What a surrogate learns of the subject, and what keeps its notion of the class."""
    subject = lesson(ldm, eot.view(clean, ldm.size), cfg.instance_prompt)
    n = min(cfg.class_images, cfg.outer * (cfg.clean_steps + cfg.adv_steps))
    if not cfg.prior_weight or not n:
        return subject, None
    return subject, lesson(ldm, class_pictures(ldm, cfg.class_prompt, n, progress=state.progress), cfg.class_prompt)


def _perturb(theta: LDM, photos: Photos, x: Photos, cfg: Config, rng: torch.Generator, state: State) -> Photos:
    """`pgd_steps` of ascent on the denoising error, from x, within the budget of the photos."""
    c = theta.embed([cfg.instance_prompt])

    def error(x: Photos, which: list[int]) -> Tensor:
        return theta.loss(eot.view(x, theta.size, eot.SLIDE, rng), c, rng)

    return pgd.ascend(photos, error, budget=cfg.budget, step=cfg.step, steps=cfg.pgd_steps, rng=rng, start=x, trace=state.trace)


def _tensors(x: Photos, thetas: list[LDM]) -> dict[str, Tensor]:
    weights = {f"{j}.{k}": v for j, theta in enumerate(thetas) for k, v in weights_of(theta).items()}
    return {f"x.{i}": p for i, p in enumerate(x)} | weights
