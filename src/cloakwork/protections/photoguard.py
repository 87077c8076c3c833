"""PhotoGuard's encoder attack: the latent of every photo is drawn to the latent of a target picture.

Salman et al., "Raising the Cost of Malicious AI-Powered Image Editing", arXiv 2302.06588, the encoder attack:

    x' = argmin over |x' - x| <= budget of || E(x') - z_target ||_2^2

Checked against MadryLab/photoguard at 686bea7 (img2img notebook: posterior mean, zero latent as target, l-infinity .06 on
[-1, 1] = 7.65/255, step .02 on [-1, 1] = 2.55/255 that decays linearly to 1 %, 1000 steps, random start).

Departures:
- the squared norm is averaged over elements (the notebook takes the plain norm); the sign of the gradient is the same;
- photos of any size: a square is cut along the long side at random in every step, so that no strip stays unprotected;
- arithmetic is fp32 unless the user chooses otherwise (the notebook autocasts to fp16);
- the laptop preset's schedule (budget 11, 100 steps without decay, the latent of mid-grey as target) is ours;
- with several surrogates their losses are averaged;
- the diffusion attack of the same paper is another method and is not here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cloakwork import eot, pgd
from cloakwork.ldm import LDM
from cloakwork.state import State
from cloakwork.types import Photos

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Names of the paper; budgets in 1/255."""

    budget: float = 7.65
    """largest change of a pixel, 1/255"""
    steps: int = 1000
    """PGD steps"""
    step: float | None = 2.55
    """change per step, 1/255 (none: budget / 10)"""
    final_step: float = 0.01
    """share of the step that is left at the end of its linear decay"""
    random_start: bool = True
    """begin at a random point of the budget's box"""
    target: Literal["zero", "grey"] = "zero"
    """target latent: zero (the notebook), or that of a mid-grey picture (the paper's demo)"""


PRESETS = {
    "tiny": Config(budget=11, steps=100, step=None, final_step=1, target="grey"),
    "paper": Config(),
}


def protect(
    photos: Photos, surrogates: list[LDM], cfg: Config, *, clean: Photos | None, rng: torch.Generator, state: State
) -> Photos:
    """Photos (each 3 x H x W in [0, 1]) whose latents under every surrogate lie near the target's."""
    targets = [target_latent(ldm, cfg.target) for ldm in surrogates]

    def nearness(x: Photos, which: list[int]) -> Tensor:
        distance = torch.zeros(())
        for ldm, z_target in zip(surrogates, targets, strict=True):
            z = ldm.encode(eot.view(x, ldm.size, eot.SLIDE, rng), rng)
            distance = distance + (z - z_target).square().mean()
        return -distance / len(surrogates)

    return pgd.ascend(
        photos, nearness, budget=cfg.budget, step=cfg.step, steps=cfg.steps, rng=rng,
        random_start=cfg.random_start, final_step=cfg.final_step, state=state,
    )  # fmt: skip


@torch.no_grad()
def target_latent(ldm: LDM, target: str) -> Tensor:
    """1 x c x h x w, scaled."""
    grey = torch.full((1, 3, ldm.size, ldm.size), 0.5, device=ldm.device)
    z = ldm.encode(grey, torch.Generator().manual_seed(0))
    return torch.zeros_like(z) if target == "zero" else z
