"""A protection whose gradient is not a number."""

from __future__ import annotations

from dataclasses import dataclass

from cloakwork.perturbation import pgd

VERSION = 1


@dataclass(frozen=True)
class Config:
    budget: float = 8


USES_SURROGATES = False


def protect(photos, surrogates, cfg, *, clean, rng, state):
    def bad(x, which):
        return (0.0, [p * float("nan") for p in x])

    return pgd.ascend(photos, bad, budget=cfg.budget, step=None, steps=3, rng=rng, state=state)
