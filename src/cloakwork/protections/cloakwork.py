"""Ours: latents lie elsewhere, what the autoencoder gives back looks unlike the photo, and a learning surrogate keeps failing.

A thief never learns a photo x but its latent E(x), and what it can draw at best is D(E(x)). PGD raises three things at once,
with theta_s a surrogate that learns the photos in turns with PGD, as in ASPL (Van Le et al., arXiv 2303.15433):

    x' = argmax over |x' - x| <= budget of
         unit(L(theta_s, x')) + displacement * unit(|E(x') - E(x)|^2) + unlikeness * unit(LPIPS(D(E(x')), x))

L is the denoising error under "a photo of sks person", LPIPS the perceptual distance (Zhang et al., arXiv 1801.03924), the
distance of latents that of PID (Li et al., arXiv 2406.15305) without the variance. unit() brings a term's gradient by a photo's
latent to length 1, so that none drowns the others; together they reach nearly what each reaches alone. The schedule is ASPL's:
`outer` turns of surrogate steps on clean photos, PGD, and surrogate steps on protected photos; 300 PGD steps, a fiftieth of
released MetaCloak's.

The autoencoder, unlike the denoiser, is the same in most models that are fine-tuned from one another, which the second and
third terms rest on; the third costs a pass forward and back through the decoder.

Departures (from ASPL, there being no paper of this):
- the two further terms; every term's gradient is of length 1, so the sizes of their values do not matter;
- the surrogate learns at the thief's rate in the laptop preset; targets, ensembles that take turns and LoRA are not here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork import eot, latents, pgd
from cloakwork.alternating import Opponent, alternate
from cloakwork.latents import Term
from cloakwork.ldm import LDM
from cloakwork.personalize import Training
from cloakwork.pool import Schedule, Turn, lessons, students
from cloakwork.state import State
from cloakwork.types import Images, Photos

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Names of ASPL, where it has one; budgets in 1/255."""

    budget: float = 11
    """largest change of a pixel, 1/255"""
    outer: int = 50
    """turns"""
    clean_steps: int = 3
    """surrogate steps on clean photos a turn"""
    pgd_steps: int = 6
    """PGD steps a turn"""
    adv_steps: int = 3
    """surrogate steps on protected photos a turn"""
    step: float | None = None
    """change per PGD step, 1/255 (none: budget / 10)"""
    displacement: float = 1.0
    """weight of the latent's distance from the photo's own, against the denoising error"""
    unlikeness: float = 1.0
    """weight of what the autoencoder gives back, against the denoising error"""
    lr: float = 5e-6
    """the surrogate's learning rate: the thief's"""
    class_images: int = 200
    """most class pictures the surrogate makes before it learns"""
    instance_prompt: str = "a photo of sks person"
    """what the thief is thought to write under the photos"""
    class_prompt: str = "a photo of person"
    """what the class pictures show"""


PRESETS = {"tiny": Config(lr=3e-4, class_images=16), "paper": Config()}


def schedule(cfg: Config) -> Schedule:
    """What each surrogate goes through."""
    return Schedule(0, cfg.outer * [Turn(before=cfg.clean_steps, pgd=cfg.pgd_steps, after=cfg.adv_steps)])


def protect(
    photos: Photos, surrogates: list[LDM], cfg: Config, *, clean: Photos | None, rng: torch.Generator, state: State
) -> Photos:
    """Photos (each 3 x H x W in [0, 1]) that a thief can neither see well nor learn."""
    how, plan = Training(lr=cfg.lr), schedule(cfg)

    def ascent(theta_s: LDM) -> pgd.Gradient:
        error = latents.denoising(theta_s, theta_s.embed([cfg.instance_prompt]), rng)

        def all_three(view: Images, z_0: Tensor, which: list[int]) -> Term:
            back, unlike = latents.nearness(z_0), latents.unlikeness(theta_s, view)
            return latents.balanced((1, error), (-cfg.displacement, back), (cfg.unlikeness, unlike))

        return latents.gradient_beside(theta_s, photos, all_three, rng)

    with students(surrogates) as thetas:
        opponents = []
        for theta in thetas:
            subject, kind = lessons(theta, eot.view(clean or photos, theta.size), cfg, how, plan.surrogate_steps, state)
            opponents.append(Opponent(theta, subject, kind, ascent))
        return alternate(
            photos, opponents, plan, how, cfg.instance_prompt, budget=cfg.budget, step=cfg.step, rng=rng, state=state
        )
