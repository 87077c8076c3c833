"""A protection of one's own: push each photo's latent away from where it was.

cloakwork protect photos/ -o safe/ --protection examples.new_protection
"""

from dataclasses import dataclass

import torch.nn.functional as F

from cloakwork.perturbation import pgd
from cloakwork.photos.preprocessing import preprocess

VERSION = 1


@dataclass(frozen=True)
class Config:
    """What can be set; flags, help and record come from it."""

    budget: float = 8
    """largest change of a pixel, 1/255"""
    steps: int = 20
    """PGD steps"""


PRESETS = {"tiny": Config(), "paper": Config()}


def protect(photos, surrogates, cfg, *, clean, rng, state):
    """Return photos (each 3 x H x W in [0, 1]) whose latents lie far from their own."""
    model = surrogates[0]
    before = [model.encode(preprocess([p], model.size)).detach() for p in photos]

    def distance(x, which):
        z = [model.encode(preprocess([p], model.size)) for p in x]
        return sum(F.mse_loss(a, before[i]) for a, i in zip(z, which, strict=True))

    how = {"budget": cfg.budget, "step": None, "steps": cfg.steps, "random_start": True}
    return pgd.ascend(photos, pgd.by_autograd(distance), rng=rng, state=state, **how)
