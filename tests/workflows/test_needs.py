"""What a protection takes, against the same counted where there are numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import of_all_workers
from helpers import small_families
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cloakwork import registry
from cloakwork.models import autoencoders, loading
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import graph_memory, losses
from cloakwork.state import RunState
from cloakwork.types import Photos
from cloakwork.workflows import needs
from cloakwork.workflows.dry_run import tallied

EVERY = ("vae_encode", "vae_decode", "unet")
# no class pictures, of which eight are drawn at least
BRIEF = {"steps": 3, "outer": 1, "clean_steps": 2, "pgd_steps": 2, "adv_steps": 1}
BRIEF |= {"class_images": 0}


def counted(compute: Callable[[], Any]) -> int:
    # torch does not count a CPU's fused attention
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as real:
        compute()
    return real.get_total_flops()


@pytest.mark.parametrize("name", small_families.FAMILIES)
def test_flops_are_those_of_a_real_gradient(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = small_families.save(name, of_all_workers(tmp_path_factory) / f"small-{name}")
    model = loading.load(str(folder), "cpu")
    x = torch.rand(1, 3, model.size, model.size, requires_grad=True)
    c, t = model.embed([""]), torch.full((1,), 500.0)
    real = counted(lambda: torch.autograd.grad(model.predict(model.encode(x), t, c).sum(), x))
    of = needs.pass_costs(model, EVERY, learns=False)
    parts = (of["vae_encode"], of["unet"])
    assert 0.9 < sum(part.forward + part.backward for part in parts) / real < 1.1
    assert of["vae_decode"].forward > 0 and of["unet"].learning == 0


@pytest.mark.parametrize(
    ("protection", "preset"),
    [
        ("pid", "tiny"),
        ("sds", "tiny"),
        ("advdm", "tiny"),
        ("aspl", "tiny"),
        ("photoguard", "tiny-diffusion"),
    ],
)
@pytest.mark.parametrize("low_memory", [False, True])
def test_a_protections_flops_are_those_of_a_run(
    protection: str, preset: str, low_memory: bool, small: LDM, square: Photos
) -> None:
    module = registry.load("protections", protection)
    config = registry.config(module, preset)
    config = replace(config, **{k: v for k, v in BRIEF.items() if hasattr(config, k)})
    model, two = replace(small, low_memory=low_memory), square[:2]
    tally = tallied(module, config, photos=2, low_memory=low_memory)
    flops, _ = needs.taken([tally], [model], 128)
    rng, state = torch.Generator().manual_seed(0), RunState()
    real = counted(lambda: module.protect(two, [model], config, clean=None, rng=rng, state=state))
    # prompts are read, and by aspl learned, beside; where memory is short, training goes through
    # the UNet once more
    least = 0.93 if protection != "aspl" else 0.7 if low_memory else 0.88
    assert least < flops / real <= 1.01


def test_surrogates_share_the_passes(small: LDM) -> None:
    module = registry.load("protections", "advdm")
    config = replace(module.PRESETS["tiny"], steps=2)
    larger = replace(small, size=192)
    one, two = (tallied(module, config, photos=3, surrogates=n) for n in (1, 2))
    apart = [needs.taken([one], [model], 0) for model in (small, larger)]
    flops, held = needs.taken([two], [small, larger], 0)
    assert flops == pytest.approx(sum(f for f, _ in apart))
    assert held == max(h for _, h in apart), "one after the other"


def saved_bytes(compute: Callable[[], torch.Tensor], *networks: torch.nn.Module) -> int:
    """Bytes that are kept for the backward, beside the weights."""
    own = {p.untyped_storage().data_ptr() for part in networks for p in part.parameters()}
    seen = {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        kept = compute()
    assert kept.grad_fn is not None
    return sum(storage.nbytes() for storage in seen.values())


def test_graphs_are_as_large_as_those_of_a_step(small: LDM, square: Photos) -> None:
    """Both at once where there is room for both, the larger one where there is not."""
    x, c = torch.stack(square).requires_grad_(True), small.embed(["a photo"])
    z = small.encode(x).detach().requires_grad_(True)
    rng = torch.Generator().manual_seed(0)
    encoder = saved_bytes(lambda: small.encode(x), small.vae)
    unet = saved_bytes(lambda: small.latent_loss(z, c, rng), small.denoiser)
    module = registry.load("protections", "advdm")
    config = replace(module.PRESETS["tiny"], steps=2)
    for low_memory, real in ((False, encoder + unet), (True, max(encoder, unet))):
        tally = tallied(module, config, photos=3, low_memory=low_memory)
        _, held = needs.taken([tally], [small], 128)
        assert held == pytest.approx(real, rel=0.1)


def test_an_encoder_alone_goes_through_its_sizes(tiny: LDM, square: Photos) -> None:
    """One in each step, all alike likely; photos one by one where they are large."""
    alone = replace(autoencoders.load("tiny", "cpu"), sizes=(128, 512))
    module = registry.load("protections", "pid")
    config = replace(module.PRESETS["tiny"], steps=4)
    tally = tallied(module, config, photos=3)
    costs = [needs.pass_costs(view, EVERY, learns=False)["vae_encode"] for view in alone.views(600)]
    assert [view.size for view in alone.views(600)] == [96, 128, 512]
    flops, held = needs.taken([tally], [alone], 600)
    each = sum(cost.forward + cost.backward for cost in costs) / 3
    # of the originals there is no way back
    again = tally.pictures["vae_encode"] - tally.pictures["vae_encode_backward"]
    assert flops == pytest.approx(3 * 4 * each + again * sum(c.forward for c in costs) / 3)
    assert held == max(3 * costs[1].saved, costs[2].saved)
    real = counted(
        lambda: losses.gradient(
            replace(alone, sizes=(128,)),
            losses.target_distance(torch.zeros(1, 4, 16, 16)),
            torch.Generator().manual_seed(0),
        )(square[:1], [0])
    )
    assert costs[1].forward + costs[1].backward == pytest.approx(real, rel=0.05)


def test_a_run_in_little_memory_is_counted_as_one(
    small: LDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not needs.computes_twice([small], 3)
    assert needs.computes_twice([replace(small, low_memory=True)], 3)
    monkeypatch.setattr(graph_memory, "free_memory", lambda device: 1)
    assert needs.computes_twice([small], 3)


def test_weights_are_those_in_memory(small: LDM, small_name: str) -> None:
    files = sum(file.stat().st_size for file in Path(small_name).glob("*/*.safetensors"))
    assert needs.weights_sentence(small) == f"{small.name}: {files / 1e9:.2g} GB of weights."
