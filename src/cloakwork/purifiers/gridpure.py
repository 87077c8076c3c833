"""GrIDPure: DiffPure with little noise, on a grid of windows, again and again.

Zhao et al., "Can Protective Perturbation Safeguard Personal Data from Being Exploited by Stable
Diffusion?", arXiv 2312.00084. `iterations` times:

    x <- (1 - gamma) * join(regenerate(window, t) for the windows of x) + gamma * x

Checked against ZhengyueZhao/GrIDPure as its paper runs it (t = 10, 20 iterations, gamma .1, windows
of 256 px, half overlapping: preset "paper") and DiffShortcut's (arXiv 2406.18944), which takes 10
of 250 spaced timesteps (40, 36 to 4, 0; here the last step is to a clean picture: preset
"diffshortcut") and feeds a model of [-1, 1] with pictures in [0, 1] (field `range`).

Departures:
- windows count the less the nearer their border is, so that the release's extra window of the four
  corners is not needed;
- all windows see one noise for the whole photo; nothing is rounded to 8 bits between iterations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from cloakwork.errors import check_ranges
from cloakwork.models.pixel_ddpm import PixelDDPM
from cloakwork.purifiers._regenerate import check_way, regenerate
from cloakwork.types import Photos

VERSION = 1
USES_MODEL = "pixels"
WINDOWS = True


@dataclass(frozen=True)
class Config:
    """How much noise, how often."""

    t: int = 10
    """timesteps to go up, of the schedule's (usually 1000)"""
    steps: int = 0
    """steps on the way down (0: every timestep)"""
    iterations: int = 20
    """how often"""
    gamma: float = 0.1
    """share of the photo that stays in each iteration, 0 to 1"""
    range: Literal["model", "released"] = "model"
    """what the network is fed: the range it was trained on, or [0, 1] as in released code"""

    def __post_init__(self) -> None:
        check_way(self.t, self.steps)
        check_ranges(self, iterations=(1, 10_000), gamma=(0, 1))


PRESETS = {
    "tiny": Config(t=20, steps=4, iterations=5),
    "paper": Config(),
    "diffshortcut": Config(t=41, steps=10, iterations=10),
}
TRIAL = {"iterations": 2}  # the others only take time


def purify(photos: Photos, model: PixelDDPM, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of their own sizes.

    Raises:
        UserError: a photo smaller than the model's square.
    """

    def pure(x: torch.Tensor) -> torch.Tensor:
        for _ in range(cfg.iterations):
            anew = regenerate(model, x, cfg.t, cfg.steps, rng, range=cfg.range)
            x = (1 - cfg.gamma) * anew + cfg.gamma * x
        return x

    return [pure(p) for p in photos]
