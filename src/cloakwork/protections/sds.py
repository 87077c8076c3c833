"""SDS: AdvDM with score distillation's gradient, so that nothing goes back through the UNet.

Xue et al., "Toward effective protection against diffusion based mimicry through score
distillation", arXiv 2311.12832. With J_E the encoder's Jacobian and e_hat what the model takes for
the noise eps in E(x') noised to a random timestep:

    x' <- x' + step sign( g J_E(x')^T (e_hat - eps) ),    g = - 1: the error falls (the paper's
    choice), or + 1

Checked against xavihart/Diff-Protect at ac5ffdb (mode sds: budget 16/255, 100 steps of 1/255, no
random start, prompt "a photo", Stable Diffusion 1.4; the configuration ships g "-", its README
shows "+").

Departures (beside the package's conventions):
- `draws` timesteps a step may be averaged, all with weight w(t) = 1 (the release has one, of which
  the sign alone counts).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch

from cloakwork.models.ldm import LDM
from cloakwork.perturbation import ensemble, losses, pgd
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
    draws: int = 1
    """timesteps and noises that a step's gradient is averaged over"""
    prompt: str = field(default="a photo", metadata=SUBJECT_PROMPT)
    """the text that the photos are denoised under"""


PRESETS = {
    "tiny": Config(budget=11, steps=50, step=None),
    "tiny-plus": Config(budget=11, steps=50, step=None, g="+"),
    "paper": Config(),
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
    """Return photos (each 3 x H x W in [0, 1]) moved along score distillation's gradient of every
    surrogate.
    """
    sign = 1 if cfg.g == "+" else -1

    def gradient(ldm: LDM) -> pgd.Gradient:
        error = losses.distillation(ldm, ldm.embed([cfg.prompt]), rng)
        return losses.gradient(ldm, losses.weighted(*cfg.draws * [(sign / cfg.draws, error)]), rng)

    return ensemble.ascend_mean(photos, surrogates, gradient, cfg, rng, state)
