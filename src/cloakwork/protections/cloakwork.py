"""Ours: what a thief's autoencoder gives back looks unlike the photo, and a surrogate that learns it keeps failing.

A thief never learns a photo x but its latent E(x), and what it can draw at best is D(E(x)). So PGD raises two things at once,
with theta_s a surrogate that learns the photos in turns with PGD, as in ASPL (Van Le et al., arXiv 2303.15433):

    x' = argmax over |x' - x| <= budget of  unit(L(theta_s, x')) + unlikeness * unit(LPIPS(D(E(x')), x'))

L is the denoising error under "a photo of sks person", LPIPS the perceptual distance (Zhang et al., arXiv 1801.03924); unit()
brings a term's gradient by a photo's latent to length 1, so that neither drowns the other. The schedule is ASPL's: `outer`
turns of surrogate steps on clean photos, PGD, and surrogate steps on protected photos; 300 PGD steps, a fiftieth of released
MetaCloak's.

No paper is followed, so there is nothing to depart from. The autoencoder, unlike the denoiser, is the same in most models that
are fine-tuned from one another, which the second term rests on; it costs a pass forward and back through the decoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from cloakwork import eot, latents, pgd
from cloakwork.alternating import Opponent, alternate
from cloakwork.latents import Term
from cloakwork.ldm import LDM
from cloakwork.personalize import Training, lesson
from cloakwork.pool import Schedule, Turn, resident, students
from cloakwork.state import State
from cloakwork.trainers import prior
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
    unlikeness: float = 1.0
    """weight of what the autoencoder gives back against the denoising error"""
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

        def both(view: Images) -> Term:
            return latents.balanced((1, error), (cfg.unlikeness, latents.unlikeness(theta_s, view)))

        return latents.gradient_by_view(theta_s, both, rng)

    with students(surrogates) as thetas:
        opponents = []
        for theta in thetas:
            with resident(theta, photos[0].device):
                subject = lesson(theta, eot.view(clean or photos, theta.size), cfg.instance_prompt)
                kind = prior(theta, cfg.class_prompt, cfg.class_images, how, plan.surrogate_steps, state)
                opponents.append(Opponent(theta, subject, kind, ascent))
        return alternate(
            photos, opponents, plan, how, cfg.instance_prompt, budget=cfg.budget, step=cfg.step, rng=rng, state=state
        )
