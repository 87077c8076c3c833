"""One short purification."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from cloakwork import registry
from cloakwork.errors import UserError
from cloakwork.models import loading, pixel_ddpm, upscalers
from cloakwork.types import Photos

QUICK = {
    "impress": {"steps": 2},
    "diffpure": {"steps": 3},
    "gridpure": {"steps": 1, "iterations": 2},
    "latent_diffpure": {"steps": 20},
}  # laptop presets but for these


def run(name: str, photos: Photos, seed: int = 3, **fields: Any) -> Photos:
    module = registry.load("purifiers", name)
    cfg = replace(registry.config(module, None, ["tiny"]), **QUICK.get(name, {}) | fields)
    model = {
        "latent": lambda: loading.load("tiny", "cpu"),
        "pixels": lambda: pixel_ddpm.load("tiny", "cpu"),
        "": lambda: None,
    }[registry.model_kind(name)]()
    try:
        return module.purify(photos, model, cfg, rng=torch.Generator().manual_seed(seed))
    except UserError as error:
        if str(error) == upscalers.GET_REALESRGAN:
            pytest.skip(str(error))
        raise
