"""Mist: the latent is drawn to a target's while the photo gets harder to denoise, both or either.

Liang and Wu, "Mist: Towards Improved Adversarial Examples for Diffusion Models", arXiv 2305.12683.
With L_S the denoising error (mean over elements) and L_T(x') = || E(x') - E(x_target) ||_2^2 (sum
over elements):

    semantic   max L_S(x')
    textural   min L_T(x')
    fused      min L_T(x') - rate L_S(x')

Checked against mist-project/mist at 7bd1aef (modes 0, 1, 2: budget 16/255, 100 steps of 1/255, rate
10^4, random start, prompt "a painting", of objects "a photo") and xavihart/Diff-Protect at ac5ffdb
(modes advdm, texture_only, mist; prompt "a photo"), Stable Diffusion 1.4.

Departures (beside the package's conventions):
- both terms share one encoding (the release encodes three times a step); the squared distance is
  summed over a photo's latent and averaged over photos, which for one photo is the release;
- the prompt is "a photo", and photos are not cut to tiles (a choice of the release's);
- Diff-Protect's Mist(-), which flips the textural term, is no method of a paper and is not here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, cast

import torch

from cloakwork.models.encoder import Encoder
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import ensemble, losses, pgd, targets
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 1
NEEDS = "encoder if mode=textural"


@dataclass(frozen=True)
class Config:
    """Names of Mist; budgets in 1/255."""

    budget: float = 16
    """largest change of a pixel, 1/255"""
    strength: Strength = field(default="uniform", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """how the budget follows the photo: not at all; or less where the eye would notice a change"""
    start: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """a protection that PGD starts from, such as learned, with which fewer steps may do (empty: the
    photo itself)"""
    steps: int = 100
    """PGD steps"""
    step: float | None = 1
    """change per step, 1/255 (none: budget / 10)"""
    mode: Literal["semantic", "textural", "fused"] = "fused"
    """what is pursued: the denoising error, the target, or both"""
    rate: float = 1e4
    """fused: weight of the denoising error against the distance to the target"""
    target: str = "pattern"
    """where latents are drawn to: pattern, grey, zero, or an image file"""
    prompt: str = field(default="a photo", metadata=SUBJECT_PROMPT)
    """the text that the photos are denoised under"""
    random_start: bool = True
    """begin at a random point of the budget's box"""
    surrogate_weights: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """weights of several surrogates' gradients, parted by blanks, as in "1 1 2"; with them, and
    where encoders alone are among the surrogates, gradients are first brought to one length"""

    def __post_init__(self) -> None:
        ensemble.parse_weights(self.surrogate_weights)


PRESETS = {"tiny": Config(budget=11, steps=50, step=None), "paper": Config()}


def protect(
    photos: Photos,
    surrogates: list[Encoder],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) that every surrogate denoises worse, takes for the
    target, or both.
    """
    semantic = {"semantic": 1.0, "textural": 0.0, "fused": cfg.rate}[cfg.mode]
    textural = 0.0 if cfg.mode == "semantic" else 1.0

    def gradient(model: Encoder) -> pgd.Gradient:
        terms = []
        if semantic:
            ldm = cast(LDM, model)
            terms.append((semantic, losses.denoising(ldm, ldm.embed([cfg.prompt]), rng)))
        if textural:
            terms.append((textural, losses.target_distance(targets.latent(model, cfg.target))))
        return losses.gradient(model, losses.weighted(*terms), rng)

    return ensemble.ascend_mean(
        photos,
        surrogates,
        gradient,
        cfg,
        rng,
        state,
        random_start=cfg.random_start,
        weights=cfg.surrogate_weights,
    )
