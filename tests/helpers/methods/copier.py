"""An attacker whose pictures are the photos, made small."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

VERSION = 1


@dataclass(frozen=True)
class Config:
    label: str = ""


def attack(photos, victim, cfg, prompts, *, masks=None, rng, state):
    return torch.cat([F.interpolate(p[None], (32, 32)) for p in photos])
