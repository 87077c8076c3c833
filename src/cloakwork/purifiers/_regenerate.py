"""DiffPure's step, which two purifiers share: a photo noised part of the way and denoised again."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.models.pixel_ddpm import PixelDDPM
from cloakwork.photos import tiling


def regenerate(
    model: PixelDDPM,
    photo: Tensor,
    t: int,
    steps: int,
    rng: torch.Generator,
    *,
    range: Literal["model", "released"] = "model",
) -> Tensor:
    """Noise a photo up to timestep t and denoise it all the way back, in windows.

    DiffPure's step (Nie et al., arXiv 2205.07460). Windows overlap by half, are denoised side by
    side under one noise for the whole photo, and are joined at the end.

    Args:
        model: the denoiser.
        photo: 3 x H x W in [0, 1], at least as large as the model's square.
        t: how many of the schedule's timesteps to go up.
        steps: how many to take on the way down, spread evenly; 0: all t.
        rng: for the noise.
        range: what the model is fed: its own [-1, 1], or [0, 1] as released code does by mistake.

    Returns:
        The photo anew, 3 x H x W in [0, 1].

    Raises:
        UserError: t or steps that the schedule does not have; a photo smaller than the model's
            square.
    """
    check_way(t, steps, model.scheduler.config.num_train_timesteps)
    height, width = photo.shape[-2:]
    at = tiling.places(height, width, model.size, model.size // 2)
    scale, shift = (2, -1) if range == "model" else (1, 0)

    def noise() -> Tensor:
        return tiling.cut(torch.randn(3, height, width, generator=rng), at, model.size).to(photo)

    way = torch.linspace(t - 1, -1, (steps or t) + 1).round().int().tolist()
    a = model.abar(way[0])
    x = a.sqrt() * (scale * tiling.cut(photo, at, model.size) + shift) + (1 - a).sqrt() * noise()
    for t_now, t_next in pairwise(way):
        x = model.step(x, t_now, t_next, noise())
    return ((tiling.join(x, at, height, width) - shift) / scale).clamp(0, 1)


def check_way(t: int, steps: int, most: int = 1000) -> None:
    """Check that a schedule of `most` timesteps has the way up, and that the way down is no longer.

    Raises:
        UserError: t outside 1 to most, or steps outside 0 (all) to t.

    >>> check_way(t=100, steps=10)
    """
    if not (1 <= t <= most and 0 <= steps <= t):
        raise UserError(
            f"t is {t} and steps {steps}; allowed are 1 to {most} for t, "
            "and 0 (all) to t for steps."
        )
