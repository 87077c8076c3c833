"""One short purification."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cloakwork import registry
from cloakwork.errors import UserError
from cloakwork.models import loading, pixel_ddpm, upscalers
from cloakwork.models.cleaner import Cleaner, save
from cloakwork.types import Photos

QUICK = {
    "impress": {"steps": 2},
    "diffpure": {"steps": 3},
    "gridpure": {"steps": 1, "iterations": 2},
    "latent_diffpure": {"steps": 20},
}  # laptop presets but for these


@cache
def network() -> str:
    """Return a folder with a network for `learned`, which adds a little everywhere."""
    folder, net = Path(tempfile.mkdtemp(prefix="cleaner-")), Cleaner()
    assert net.last.bias is not None
    torch.nn.init.constant_(net.last.bias, 0.02)
    save(net, folder)
    atexit.register(shutil.rmtree, folder)
    return str(folder)


def run(name: str, photos: Photos, seed: int = 3, **fields: Any) -> Photos:
    module = registry.load("purifiers", name)
    if name == "learned":
        fields = {"weights": network(), "every": True} | fields
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


def beside(made: Photos, photos: Photos) -> Photos:
    """Return the originals of purified photos at their sizes, which may be smaller."""
    return [
        b
        if a.shape == b.shape
        else F.interpolate(b[None], a.shape[-2:], mode="bicubic", antialias=True)[0].clamp(0, 1)
        for a, b in zip(made, photos, strict=True)
    ]
