"""A protection whose gradient is zero everywhere."""

from __future__ import annotations

from dataclasses import dataclass

from cloakwork.perturbation import pgd

VERSION = 1


@dataclass(frozen=True)
class Config:
    budget: float = 8


USES_SURROGATES = False


def protect(photos, surrogates, cfg, *, clean, rng, state):
    def zero(x, which):
        return (0.0, [0 * p for p in x])

    return pgd.ascend(
        photos, zero, budget=8, step=None, steps=3, rng=rng, state=state, random_start=True
    )
