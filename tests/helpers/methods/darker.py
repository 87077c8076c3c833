"""A protection that takes the whole budget off."""

from __future__ import annotations

from dataclasses import dataclass

VERSION = 1


@dataclass(frozen=True)
class Config:
    budget: float = 8


USES_SURROGATES = False


def protect(photos, surrogates, cfg, *, clean, rng, state):
    return [(p - cfg.budget / 255).clamp(0, 1) for p in photos]
