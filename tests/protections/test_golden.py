"""Golden values of purifiers, attackers and metrics (protections have theirs in test_contract.py).

Results are kept by VERSION: outputs may move only together with it, or with the weights. Then run
with CLOAKWORK_GOLDEN=write and read the diff.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest import of_all_workers
from helpers import attacks, purification, small_families
from helpers.golden import GOLDEN, golden
from torch import Tensor

from cloakwork import registry
from cloakwork.metrics._measure import measure
from cloakwork.models import loading, pixel_ddpm
from cloakwork.models.ldm import LDM
from cloakwork.state import RunState
from cloakwork.types import Photos

EDITORS = {
    "sdedit": {"strengths": (0.4,), "steps": 5},
    "inpaint": {"strengths": (1.0,), "steps": 3},
    "reference_edit": {"steps": 3},
}


def named(kind: str) -> list[str]:
    return [name for name, _ in registry.listing(kind)]


def mean_and_spread(pictures: list[Tensor]) -> list[float]:
    """Return mean and standard deviation of each picture, 1/255."""
    return [round(v.item() * 255, 2) for p in pictures for v in (p.mean(), p.std())]


@pytest.mark.parametrize("name", named("purifiers"))
def test_purifier(name: str, photos: Photos, tiny: LDM) -> None:
    got = purification.run(name, photos)
    weights = {
        "latent": lambda: tiny.weights,
        "pixels": lambda: pixel_ddpm.weights("tiny"),
        "": lambda: "",
    }[registry.model_kind(name)]()
    changes = [
        round((a - b).abs().mean().item() * 255, 3)
        for a, b in zip(got, purification.beside(got, photos), strict=True)
    ]
    golden(
        f"purifiers/{name}", registry.load("purifiers", name).VERSION, weights, changes, within=0.05
    )


@pytest.mark.parametrize("name", named("attackers"))
def test_attacker(
    name: str, photos: Photos, tiny: LDM, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if name == "reference_edit":  # which `tiny` is no victim of
        shared = of_all_workers(tmp_path_factory) / "small-kontext"
        tiny = loading.load(str(small_families.save("kontext", shared)), "cpu")
    if name in EDITORS:
        module = registry.load("attackers", name)
        config = replace(module.PRESETS["tiny"], **EDITORS[name])
        prompts, rng = attacks.PROMPTS[:1], torch.Generator().manual_seed(1)
        got = module.attack(photos, tiny, config, prompts, rng=rng, state=RunState())
    else:
        got = attacks.run(name, photos, tiny)
    golden(
        f"attackers/{name}",
        registry.load("attackers", name).VERSION,
        tiny.weights,
        mean_and_spread(list(got)),
        within=1,
    )


@pytest.mark.parametrize("name", named("metrics"))
def test_metric(name: str, photos: Photos) -> None:
    big = [F.interpolate(p[None], (192, 192))[0] for p in photos]
    noise = torch.Generator().manual_seed(0)
    seen = [(p + 0.02 * torch.randn(p.shape, generator=noise)).clamp(0, 1) for p in big]
    found = measure(name, seen, big, ["a photo of a cat"] * len(seen))
    if not (values := [v for v in found.values if not math.isnan(v)]):
        pytest.skip(found.reason or "unscored")
    golden(
        f"metrics/{name}",
        registry.load("metrics", name).VERSION,
        found.instrument,
        values,
        within=0.02 * abs(found.mean),
    )


def test_nothing_is_golden_that_is_not_there() -> None:
    known = {
        f"{kind}/{name}" for kind in ("purifiers", "attackers", "metrics") for name in named(kind)
    } | set(named("protections"))
    assert set(json.loads(GOLDEN.read_text())) <= known
