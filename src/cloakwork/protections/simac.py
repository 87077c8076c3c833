"""SimAC: ASPL at timesteps where a photo's gradient is large, and against the UNet's features as
well as its error.

Wang et al., "SimAC: A Simple Anti-Customization Method for Protecting Face Privacy against
Text-to-Image Synthesis of Diffusion Models", arXiv 2312.07865. First, for every photo on its own,
against the surrogate as it was given:

    T <- all timesteps;  repeat up to `steps` times while more than 100 are left:
        at 5 timesteps drawn from T: the l1 norm of the gradient of L by x'
        drop from T those within 20 of the one where it was smallest;  x' <- PGD step at the one
        where it was largest

Then ASPL (see there) on the photo, with L at timesteps drawn from its T plus || f(x'_t) - f(x_t)
||^2, f the features of the UNet's last up-block (its residual blocks before they are added; 9 to 11
in Stable Diffusion), both under the same noise. Of a transformer, which the paper does not treat, f
are the last layers inside the last quarter of its blocks.

Checked against somuchtome/SimAC at 2de1aa8 (50 x (3 + 6 + 3), at most 50 rounds of search, learning
rate and class pictures as ASPL; budget 16/255 on [-1, 1] = 8/255, step .005 on [-1, 1] = .64/255).

Departures (beside the package's conventions):
- the feature loss has a gradient (the release adds it as a plain number, so that it does nothing),
  and it compares with the photo itself (the release: with the photo as the turn found it);
- the search is done for all photos side by side; where its rounds end before 100 timesteps are
  left, T is what is left (the release then fails);
- those of `aspl`: clipped gradients, all photos and class pictures in turn;
- with several surrogates each has a T of its own for every photo; the laptop preset has 30 rounds
  of search.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from cloakwork.models.ldm import LDM
from cloakwork.perturbation import features, losses, pgd, timestep_search
from cloakwork.perturbation.alternating import alternate_at_chosen
from cloakwork.perturbation.originals import Originals, gradient_with_originals
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.state import RunState
from cloakwork.types import Images, Photos, Strength

VERSION = 2  # 1 learned subject and class in two passes: other rounding


@dataclass(frozen=True)
class Config:
    """Names of the release; budgets in 1/255."""

    budget: float = 8
    """largest change of a pixel, 1/255"""
    strength: Strength = field(default="uniform", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """how the budget follows the photo: not at all; or less where the eye would notice a change"""
    start: str = field(default="", metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """a protection that PGD starts from, such as learned, with which fewer steps may do (empty: the
    photo itself)"""
    steps: int = 50
    """most rounds of the search for timesteps (max_steps)"""
    outer: int = 50
    """outer iterations of ASPL (max_train_steps)"""
    clean_steps: int = 3
    """surrogate steps on clean photos a turn (max_f_train_steps)"""
    pgd_steps: int = 6
    """PGD steps a turn (max_adv_train_steps)"""
    adv_steps: int = 3
    """surrogate steps on protected photos a turn"""
    step: float | None = 0.64
    """change per PGD step, 1/255 (none: budget / 10)"""
    feature_weight: float = 1.0
    """weight of the feature loss"""
    lr: float = 5e-7
    """the surrogate's learning rate"""
    class_images: int = 200
    """most class pictures the surrogate makes before it learns"""
    class_sampling_steps: int = field(default=25, metadata=OMIT_FROM_KEY_AT_DEFAULT)
    """DDIM steps that a class picture takes"""
    instance_prompt: str = field(default="a photo of sks person", metadata=SUBJECT_PROMPT)
    """what the attacker is expected to write under the photos"""
    class_prompt: str = field(default="a photo of person", metadata=SUBJECT_PROMPT)
    """what the class pictures show"""


PRESETS = {
    "tiny": Config(budget=11, step=None, steps=30, lr=3e-4, class_images=16),
    "paper": Config(),
}
# steps are rounds of a search here, each of which costs six gradients
TRIAL = {"outer": 2, "steps": 3}


def protect(
    photos: Photos,
    surrogates: list[LDM],
    cfg: Config,
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) from which a model that learns them cannot learn the
    subject.
    """
    return alternate_at_chosen(
        photos,
        surrogates,
        cfg,
        partial(_ascent, Originals(photos), cfg, rng),
        clean=clean,
        rng=rng,
        state=state,
    )


def _ascent(
    originals: Originals, cfg: Config, rng: torch.Generator, allowed: Tensor, theta: LDM
) -> pgd.Gradient:
    c = theta.embed([cfg.instance_prompt])

    def disturbed(view: Images, z_0: Tensor, which: list[int]) -> losses.LatentLoss:
        return features.feature_disturbance(
            theta, c, z_0, timestep_search.draw(allowed[which], rng), rng, weight=cfg.feature_weight
        )

    return gradient_with_originals(theta, originals, disturbed, rng)
