"""Replayed passes give the bytes of plain ones."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.graphs import StandIn
from torch import Tensor, nn

from cloakwork.errors import UserError
from cloakwork.models import loading
from cloakwork.models.graphs import Replayed
from cloakwork.models.ldm import LDM
from cloakwork.protections import aspl, pid, simac
from cloakwork.state import RunState
from cloakwork.types import Photos


@pytest.fixture
def network() -> nn.Module:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Conv2d(4, 2, 3))
    rng = torch.Generator().manual_seed(0)
    for p in layers.parameters():
        p.requires_grad_(False).copy_(torch.randn(p.shape, generator=rng))
    return layers


def picture(seed: int, n: int = 2) -> Tensor:
    return torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def value_and_gradient(f: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_(True)
    value = f(leaf).square().sum()
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def same(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_replay_gives_the_same_values_and_gradients(network: nn.Module) -> None:
    graphs = StandIn()
    replayed = Replayed(network, network, graphs)
    for seed in range(3):
        x = picture(seed)
        assert same(value_and_gradient(replayed, x), value_and_gradient(network, x))
    assert (graphs.captured, graphs.replayed) == (1, 3)
    with torch.no_grad():
        first, second = replayed(picture(5)), replayed(picture(6))
        assert torch.equal(first, network(picture(5))) and torch.equal(second, network(picture(6)))
    replayed(picture(1, n=3))
    assert graphs.captured == 3  # without gradients, and for another number of pictures


def test_a_second_call_before_the_backward_overwrites_nothing(network: nn.Module) -> None:
    graphs = StandIn()
    replayed = Replayed(network, network, graphs)

    def twice(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: f(x) - 3 * f(x.flip(-1))

    for seed in range(2):
        x = picture(seed)
        assert same(value_and_gradient(twice(replayed), x), value_and_gradient(twice(network), x))
    assert graphs.replayed == 2  # the first call of each pair


def test_hooks_and_weights_that_learn_are_no_case_for_graphs(network: nn.Module) -> None:
    graphs, seen = StandIn(), []
    replayed = Replayed(network, network, graphs)
    hook = network[0].register_forward_hook(lambda *_: seen.append(1))  # type: ignore[index]
    replayed(picture(0))
    hook.remove()
    assert seen
    for p in network.parameters():
        p.requires_grad_(True)
    replayed(picture(0)).sum().backward()
    assert all(p.grad is not None for p in network.parameters()) and graphs.replayed == 0


def test_moved_weights_are_captured_again(network: nn.Module) -> None:
    graphs = StandIn()
    replayed = Replayed(network, network, graphs)
    replayed(picture(0))
    for p in network.parameters():
        p.data = 2 * p.data
    assert torch.equal(replayed(picture(0)), network(picture(0))) and graphs.captured == 2


def with_graphs(small: LDM, graphs: StandIn, monkeypatch: pytest.MonkeyPatch) -> LDM:
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", graphs)
    vae = deepcopy(small.vae)
    loading._replay(vae)
    return replace(small, vae=vae, graphs=True)


def test_a_model_decodes_the_same(small: LDM, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = StandIn()
    model = with_graphs(small, graphs, monkeypatch)
    for seed in range(2):
        z = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(seed))
        assert same(value_and_gradient(model.decode, z), value_and_gradient(small.decode, z))
    assert graphs.replayed == 2


BRIEF = {"outer": 1, "clean_steps": 1, "pgd_steps": 2, "adv_steps": 1}


@pytest.mark.parametrize(
    ("module", "brief"),
    [
        (pid, {"steps": 2}),
        (aspl, BRIEF | {"class_images": 2}),
        (simac, BRIEF | {"steps": 1, "class_images": 0}),
    ],
)
def test_a_protection_has_the_same_bytes(
    module: Any,
    brief: dict[str, int],
    photos: Photos,
    small: LDM,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def protected(model: LDM) -> Photos:
        cfg = replace(module.PRESETS["tiny"], **brief)
        rng = torch.Generator().manual_seed(0)
        return module.protect(photos[:2], [model], cfg, clean=None, rng=rng, state=RunState())

    graphs = StandIn()
    by_graphs, plain = protected(with_graphs(small, graphs, monkeypatch)), protected(small)
    assert same(tuple(by_graphs), tuple(plain)) and graphs.replayed > graphs.captured


def test_graphs_are_of_cuda() -> None:
    with pytest.raises(UserError, match=r"on cuda alone; the device is cpu. Leave --graphs out."):
        loading.load("tiny", "cpu", graphs=True)
