"""Nothing in a step makes an accelerator wait.

On the device "meta" nothing is computed, so whoever reads a value gets an error: a step that runs
there never waits for its device. Copies to it must be ones that are not waited for.
"""

from __future__ import annotations

import traceback
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cloakwork import registry
from cloakwork.finetuning import training
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import losses, pgd, timestep_search
from cloakwork.photos.preprocessing import Preprocessing
from cloakwork.protections import caat
from cloakwork.state import RunState
from cloakwork.types import Photos

META = torch.device("meta")
# a few steps of everything, without class pictures: those are drawn before the first step
BRIEF = {
    "steps": 2,
    "outer": 1,
    "clean_steps": 1,
    "pgd_steps": 2,
    "adv_steps": 1,
    "lora_steps": 1,
    "class_images": 0,
    "prior_weight": 0,
}
# simac's steps are among cloakwork's; fsmg and metacloak keep snapshots of their surrogates, which
# are read once, and their steps are those of aspl through the loader below
METHODS = [
    *("ace", "adaptive", "advdm", "aspl", "caat", "cloakwork", "dct_shield", "glaze", "mist"),
    *("photoguard", "pid", "sds", "sdst"),
]
# copied once a run; kornia's copies are not waited for on cuda, for which it asks by name
ALLOWED = ("lpips.py", "tuners_utils.py", "dct_shield.py", "kornia/core/utils.py")


class Copies(TorchDispatchMode):
    """Keeps the lines of ours that wait for a copy to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        copies = func is torch.ops.aten._to_copy.default and kwargs.get("device") == META
        if copies and args[0].device != META and not kwargs.get("non_blocking"):
            ours = [f for f in traceback.extract_stack()[:-1] if "/torch/" not in f.filename][-1]
            if not ours.filename.endswith(ALLOWED):
                self.lines.add(f"{ours.filename}:{ours.lineno} {ours.line}")
        return func(*args, **kwargs)


@pytest.fixture
def hollow(small: LDM, monkeypatch: pytest.MonkeyPatch) -> LDM:
    """The small model where nothing is computed; and nothing reads what only the end of a run, or
    its beginning, has to.
    """
    parts = ("vae", "denoiser", "text_encoder")
    monkeypatch.setattr(LDM, "autocast", lambda self: nullcontext())
    monkeypatch.setattr(RunState, "settle", lambda self: None)
    monkeypatch.setattr(pgd, "is_grey", lambda photo: False)
    monkeypatch.setattr(timestep_search, "searched", _searched)
    # torch has a fused one for real devices alone
    slow = partial(torch.optim.AdamW, lr=1e-3)
    for module in (training, caat):
        monkeypatch.setattr(module, "adamw", lambda params, how: slow(params))
    moved = {p: deepcopy(getattr(small, p)).to(META) for p in parts}
    return replace(small, **moved, _embedded={})


def _searched(surrogates: list[LDM], photos: Photos, *rest: Any, **more: Any) -> dict[str, Any]:
    """Every timestep: a search reads what it found once a round."""
    every = torch.ones(len(photos), 1000, dtype=torch.bool)
    return {f"T {j}": every for j in range(len(surrogates))}


def photos() -> Photos:
    return [torch.empty(3, 150, 130, device=META) for _ in range(2)]


@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits(name: str, hollow: LDM) -> None:
    module = registry.load("protections", name)
    config = registry.config(module, "tiny")
    config = replace(config, **{k: v for k, v in BRIEF.items() if hasattr(config, k)})
    rng, state = torch.Generator().manual_seed(0), RunState()
    with Copies() as copies:
        module.protect(photos(), [hollow], config, clean=None, rng=rng, state=state)
    assert not copies.lines


def test_no_loader_waits(hollow: LDM) -> None:
    loader = Preprocessing("slide", zoom=0.9, flip=0.5, blur=3, jpeg_quality=(75, 95))
    rng = torch.Generator().manual_seed(0)
    error = losses.denoising(hollow, hollow.embed(["a photo"]), rng)
    with Copies() as copies:
        losses.gradient(hollow, error, rng, loader=loader)(photos(), [0, 1])
    assert not copies.lines


def test_what_waits_is_found(hollow: LDM) -> None:
    with Copies() as copies:
        torch.ones(1).to(META)
    assert len(copies.lines) == 1
    with pytest.raises(RuntimeError, match="meta"):
        hollow.embed(["a photo"]).hidden.sum().item()
