"""DiffPure: noise until the perturbation drowns, then a diffusion model of pixels paints it over.

Nie et al., "Diffusion Models for Adversarial Purification", arXiv 2205.07460. With abar the model's
noise schedule:

    x_t = sqrt(abar_t) x + sqrt(1 - abar_t) eps;   x' <- ancestral sampling from t back to 0

Checked against DiffShortcut (arXiv 2406.18944; its "pdiffp": windows of 256 px, 100 of 250 spaced
timesteps, from 401 of 1000 down: preset "paper"). That code feeds a model of [-1, 1] with pictures
in [0, 1] (field `range`).

Departures:
- windows overlap by half, and those nearer to a window's middle count more (the release averages
  evenly, and resizes photos to 512 px; here they keep their size);
- all windows see one noise for the whole photo, so that they agree where they overlap;
- a variance that the model has learned is not used: the posterior's is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from cloakwork.models.pixel_ddpm import PixelDDPM
from cloakwork.purifiers._regenerate import check_way, regenerate
from cloakwork.types import Photos

VERSION = 1
USES_MODEL = "pixels"
WINDOWS = True


@dataclass(frozen=True)
class Config:
    """How much noise, and how carefully it is taken away."""

    t: int = 100
    """timesteps to go up, of the schedule's (usually 1000)"""
    steps: int = 0
    """steps on the way down (0: every timestep)"""
    range: Literal["model", "released"] = "model"
    """what the network is fed: the range it was trained on, or [0, 1] as in released code"""

    def __post_init__(self) -> None:
        check_way(self.t, self.steps)


PRESETS = {"tiny": Config(t=60, steps=12), "paper": Config(t=402, steps=100)}


def purify(photos: Photos, model: PixelDDPM, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of their own sizes.

    Raises:
        UserError: a photo smaller than the model's square.
    """
    return [regenerate(model, p, cfg.t, cfg.steps, rng, range=cfg.range) for p in photos]
