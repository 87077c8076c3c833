"""AdvDM: the photo is moved to where the model denoises it worse (or, with "-", better).

Liang et al., "Adversarial Example Does Good: Preventing Painting Imitation from Diffusion Models
via Adversarial Examples", arXiv 2302.04578; the descending form: Xue et al., "Toward effective
protection against diffusion based mimicry through score distillation", arXiv 2311.12832. With
L_S(x) the denoising error of E(x), one timestep and one noise a step:

    x' = argmax over |x' - x| <= budget of  g E_t,eps L_S(x'),    g = + 1 or - 1

Checked against xavihart/Diff-Protect at ac5ffdb (mode advdm: budget 16/255, 100 steps of 1/255,
random start, prompt "a photo", Stable Diffusion 1.4).

Departures (beside the package's conventions):
- the loop itself is ours (the release takes advertorch's, and lets gradients of all weights pile
  up).
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
    g: Literal["+", "-"] = "+"
    """raise (+) or lower (-) the denoising error"""
    prompt: str = field(default="a photo", metadata=SUBJECT_PROMPT)
    """the text that the photos are denoised under"""
    random_start: bool = True
    """begin at a random point of the budget's box"""


PRESETS = {
    "tiny": Config(budget=11, steps=50, step=None),
    "tiny-minus": Config(budget=11, steps=50, step=None, g="-"),
    "paper": Config(),
}
# one timestep a step, and the error alone is wanted: latents move 1.26 times as far as under noise
# after 20 steps on tiny
SHIFT = 1.1


def protect(
    photos: Photos,
    surrogates: list[LDM],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) whose denoising error under every surrogate is
    higher (g "-": lower).
    """
    sign = 1 if cfg.g == "+" else -1

    def gradient(ldm: LDM) -> pgd.Gradient:
        error = losses.denoising(ldm, ldm.embed([cfg.prompt]), rng)
        return losses.gradient(ldm, losses.weighted((sign, error)), rng)

    return ensemble.ascend_mean(
        photos, surrogates, gradient, cfg, rng, state, random_start=cfg.random_start
    )
