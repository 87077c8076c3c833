"""What the training scripts share: the arithmetic of the machine, and Muon in it."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

TRAINING = Path(__file__).parents[1] / "training"


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TRAINING)
    return importlib.import_module("loop")


@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_bfloat16_only_where_the_processor_has_it(
    loop: ModuleType, monkeypatch: pytest.MonkeyPatch, has: bool, dtype: torch.dtype
) -> None:
    found = {"avx2": True, "amx_bf16": False, "avx512_bf16": has, "cpu_name": "any"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    monkeypatch.setattr(loop, "arithmetic", loop.arithmetic.__wrapped__)  # nothing remembered
    assert loop.arithmetic() == dtype
    with loop.autocast():
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype


def test_muon_steps_as_torchs_own_does_in_float32(
    loop: ModuleType, monkeypatch: pytest.MonkeyPatch, rng: torch.Generator
) -> None:
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)
    start = [torch.randn(shape, generator=rng) for shape in ((6, 4), (4, 6), (5, 5))]
    made = []
    for kind, more in ((loop.Muon, {}), (torch.optim.Muon, {"adjust_lr_fn": "match_rms_adamw"})):
        params = [torch.nn.Parameter(x.clone()) for x in start]
        optimizer = kind(params, lr=0.01, weight_decay=0.1, **more)
        grads = torch.Generator().manual_seed(1)
        for _ in range(3):
            for p in params:
                p.grad = torch.randn(p.shape, generator=grads)
            optimizer.step()
        made.append([*params, *(optimizer.state[p]["momentum_buffer"] for p in params)])
    for own, theirs in zip(*made, strict=True):
        torch.testing.assert_close(own, theirs)


def test_an_unfinished_training_goes_on_from_what_is_kept(loop: ModuleType, tmp_path: Path) -> None:
    unfinished = importlib.import_module("unfinished")

    def run(folder: Path, steps: int) -> torch.nn.Module:
        net = torch.nn.Linear(4, 3)
        training = loop.Run(folder, net, lr=0.1, steps=steps, minutes=1, ema=0.9, muon=True)
        for _ in training:
            training.descend(net(torch.ones(2, 4)).square().sum())
        return net

    before = run(tmp_path / "work", 2)
    unfinished.keep(tmp_path / "work", tmp_path / "kept")
    unfinished.restore(tmp_path / "kept", tmp_path / "other")
    after = run(tmp_path / "other", 2)  # which is there already
    assert torch.equal(after.weight, before.weight.bfloat16().float())
    assert (tmp_path / "kept" / "weights.safetensors").stat().st_size < 400
    with pytest.raises(SystemExit, match="left alone"):
        unfinished.restore(tmp_path / "kept", tmp_path / "other")
