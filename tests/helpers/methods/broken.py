"""An attacker that fails."""

from __future__ import annotations

from dataclasses import dataclass

VERSION = 1


@dataclass(frozen=True)
class Config:
    label: str = ""


def attack(photos, victim, cfg, prompts, *, masks=None, rng, state):
    raise RuntimeError("The kettle is empty.")
