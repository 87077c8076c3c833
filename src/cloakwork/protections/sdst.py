"""SDST: score distillation and a target for the latent, through one backward of the encoder.

Xue et al., "Toward effective protection against diffusion based mimicry through score
distillation", arXiv 2311.12832. With g_SDS as in `sds` and L_T(x') = || E(x') - E(x_target) ||_2^2:

    x' <- x' + step sign( g rate g_SDS - grad L_T(x') ),    g = - 1 (the paper's choice) or + 1

Checked against xavihart/Diff-Protect at ac5ffdb (mode sds with using_target: budget 16/255, 100
steps of 1/255, rate 5 (and 1) on the distillation term, no random start, prompt "a photo", Stable
Diffusion 1.4).

Departures (beside the package's conventions): none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from cloakwork.models.ldm import LDM
from cloakwork.perturbation import ensemble, losses, pgd, targets
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.state import RunState
from cloakwork.types import Photos, Strength

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Names of Diff-Protect; budgets in 1/255."""

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
    g: Literal["+", "-"] = "-"
    """raise (+) or lower (-) the denoising error"""
    rate: float = 5
    """weight of the distillation term (target_rate)"""
    target: str = "pattern"
    """where latents are drawn to: pattern, grey, zero, or an image file"""
    prompt: str = field(default="a photo", metadata=SUBJECT_PROMPT)
    """the text that the photos are denoised under"""


PRESETS = {
    "tiny": Config(budget=11, steps=50, step=None),
    "paper": Config(),
    "paper-rate-1": Config(rate=1),
}


def protect(
    photos: Photos,
    surrogates: list[LDM],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) moved along both gradients of every surrogate."""
    sign = 1 if cfg.g == "+" else -1

    def gradient(ldm: LDM) -> pgd.Gradient:
        error = losses.distillation(ldm, ldm.embed([cfg.prompt]), rng)
        near = losses.target_distance(targets.latent(ldm, cfg.target))
        return losses.gradient(ldm, losses.weighted((sign * cfg.rate, error), (1, near)), rng)

    return ensemble.ascend_mean(photos, surrogates, gradient, cfg, rng, state)
