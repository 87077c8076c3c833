"""One short attack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from cloakwork import registry
from cloakwork.models.ldm import LDM
from cloakwork.models.sampling import Sampling
from cloakwork.state import RunState
from cloakwork.types import Images, Photos

PROMPTS = ["a photo of sks person", "a portrait of sks person"]


LEAN = {"steps": 3, "batch": 2, "class_images": 2, "sampling": Sampling(n=2, steps=2)}


def lean(name: str, preset: str = "tiny", **more: Any) -> Any:
    config = registry.load("attackers", name).PRESETS[preset]
    return replace(config, **{k: v for k, v in {**LEAN, **more}.items() if hasattr(config, k)})


def run(
    name: str,
    photos: Photos,
    victim: LDM,
    state: RunState | None = None,
    *,
    preset: str = "tiny",
    seed: int = 1,
    **more: Any,
) -> Images:
    rng = torch.Generator().manual_seed(seed)
    config = lean(name, preset, **more)
    return registry.load("attackers", name).attack(
        photos, victim, config, PROMPTS, rng=rng, state=state or RunState()
    )
