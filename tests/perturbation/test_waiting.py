"""Nothing in a step makes an accelerator wait.

On the device "meta" nothing is computed, so whoever reads a value gets an error: a step that runs
there never waits for its device. Copies to it must be ones that are not waited for.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from cloakwork import registry
from cloakwork.finetuning import training
from cloakwork.finetuning.latent_dataset import LatentDataset
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import losses, pgd, surrogates, timestep_search
from cloakwork.photos.preprocessing import Preprocessing
from cloakwork.protections import caat, fsmg, metacloak
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
METHODS = [
    *("ace", "adaptive", "advdm", "aspl", "caat", "cloakwork", "dct_shield", "fsmg", "glaze"),
    *("metacloak", "mist", "photoguard", "pid", "sds", "sdst", "simac"),
]
# copied once a run; kornia's copies are not waited for on cuda, for which it asks by name
ALLOWED = (
    *("adapters.py", "lpips.py", "tuners_utils.py", "dct_shield.py"),
    "kornia/core/utils.py",
)


class Lines(set[str]):
    """Lines of ours at which something was done."""

    def add_here(self) -> None:
        """Add the line of the package, or of a library but torch, that is at work now."""
        frames = traceback.extract_stack()[:-2]
        ours = [f for f in frames if "/torch/" not in f.filename and f.filename != __file__]
        at = (ours or frames)[-1]
        if not at.filename.endswith(ALLOWED):
            self.add(f"{at.filename}:{at.lineno} {at.line}")


class Copies(TorchDispatchMode):
    """Finds copies between the CPU and the device that are waited for."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.lines = lines

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default:
            copied = kwargs.get("device") == META and args[0].device != META
            waits = copied and not kwargs.get("non_blocking")
        elif func is torch.ops.aten.copy_.default:
            waits = args[0].device != args[1].device and not (args[2:] or [False])[0]
        elif func is torch.ops.aten.index.Tensor:
            # places on the CPU are copied to what they are places of
            waits = args[0].device == META and any(
                i.device != META for i in args[1] if i is not None
            )
        else:
            waits = False
        if waits:
            self.lines.add_here()
        return func(*args, **kwargs)


class Numbers(TorchFunctionMode):
    """Finds numbers that torch copies to the device: of a new tensor, of places in one."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.lines = lines

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        made = func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], torch.Tensor)
        made = made and torch.device(kwargs.get("device") or "cpu") == META
        places = args[1] if func is torch.Tensor.__getitem__ and args[0].device == META else ()
        if made or any(isinstance(p, list) for p in (places, *_each(places))):
            self.lines.add_here()
        return func(*args, **kwargs)


def _each(places: Any) -> tuple[Any, ...]:
    return places if isinstance(places, tuple) else ()


@contextmanager
def copies() -> Iterator[Lines]:
    """Yield the lines inside that wait for a copy."""
    lines = Lines()
    with Copies(lines), Numbers(lines):
        yield lines


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
    # members of a pool are read from files, once each
    for module in (fsmg, metacloak):
        monkeypatch.setattr(module, "make_snapshots", _snapshots)
    for module in (fsmg, surrogates):
        monkeypatch.setattr(module, "load_file", lambda path: {})
    moved = {p: deepcopy(getattr(small, p)).to(META) for p in parts}
    return replace(small, **moved, _embedded={})


def _searched(surrogates: list[LDM], photos: Photos, *rest: Any, **more: Any) -> dict[str, Any]:
    """Every timestep: a search reads what it found once a round."""
    every = torch.ones(len(photos), 1000, dtype=torch.bool)
    return {f"T {j}": every for j in range(len(surrogates))}


def _snapshots(
    theta: LDM, pictures: Any, cfg: Any, at: list[int], *_: Any
) -> list[surrogates.Snapshot]:
    return [surrogates.Snapshot(theta, None, Path()) for _ in at]


def photos() -> Photos:
    return [torch.empty(3, 150, 130, device=META) for _ in range(2)]


def brief(kind: str, name: str) -> tuple[Any, Any]:
    """A method, and a few steps of its laptop preset."""
    module = registry.load(kind, name)
    config = registry.config(module, "tiny")
    return module, replace(config, **{k: v for k, v in BRIEF.items() if hasattr(config, k)})


@pytest.mark.parametrize("name", METHODS)
def test_no_step_waits(name: str, hollow: LDM) -> None:
    module, config = brief("protections", name)
    rng, state = torch.Generator().manual_seed(0), RunState()
    with copies() as lines:
        module.protect(photos(), [hollow], config, clean=None, rng=rng, state=state)
    assert not lines


SHORT = {"variant": "release", "surrogate_steps": 4, "interval": 4, "trials": 1}


@pytest.mark.parametrize("changed", [{"B": 2}, SHORT])
def test_no_turn_of_a_pool_waits(changed: dict[str, Any], hollow: LDM) -> None:
    """Members that come back have weights of their own, and are given them."""
    _, config = brief("protections", "metacloak")
    rng, state = torch.Generator().manual_seed(0), RunState()
    with copies() as lines:
        metacloak.protect(
            photos(), [hollow], replace(config, **changed), clean=None, rng=rng, state=state
        )
    assert not lines


@pytest.mark.parametrize("name", ["dreambooth", "lora"])
def test_no_trainers_step_waits(name: str, hollow: LDM, monkeypatch: pytest.MonkeyPatch) -> None:
    module, config = brief("attackers", name)
    latents = torch.empty(2, 4, 16, 16, device=META)
    others = LatentDataset(latents, "a photo of person")
    monkeypatch.setattr(module, "victims_prior", lambda *_: others)
    # pictures are drawn when the training is over
    monkeypatch.setattr(LDM, "sample", lambda *_, **__: torch.empty(1, 3, 128, 128))
    rng, state = torch.Generator().manual_seed(0), RunState()
    with copies() as lines:
        module.attack(photos(), hollow, config, ["a photo"], rng=rng, state=state)
    assert not lines


def test_no_loader_waits(hollow: LDM) -> None:
    loader = Preprocessing("slide", zoom=0.9, flip=0.5, blur=3, jpeg_quality=(75, 95))
    rng = torch.Generator().manual_seed(0)
    error = losses.denoising(hollow, hollow.embed(["a photo"]), rng)
    with copies() as lines:
        losses.gradient(hollow, error, rng, loader=loader)(photos(), [0, 1])
    assert not lines


def test_what_waits_is_found(hollow: LDM) -> None:
    there = torch.ones(3, device=META)
    for waits in (
        lambda: torch.ones(1).to(META),
        lambda: there.copy_(torch.ones(3)),
        lambda: there[[0, 2]],
        lambda: torch.tensor([1.0], device=META),
    ):
        with copies() as lines:
            waits()
        assert len(lines) == 1
    with pytest.raises(RuntimeError, match="meta"):
        hollow.embed(["a photo"]).hidden.sum().item()
