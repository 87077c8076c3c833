"""AdvDM, Mist, SDS, SDST, PhotoGuard's diffusion attack: the first step is the paper's, restated in
plain torch."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from helpers.spies import relative_error
from torch import Tensor

from cloakwork.models import schedulers
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import graph_memory, targets
from cloakwork.photos.preprocessing import SLIDE, preprocess
from cloakwork.protections import advdm, mist, photoguard, sds, sdst
from cloakwork.state import RunState
from cloakwork.types import Photos

SEED = 4


def run(module: ModuleType, photos: Photos, model: LDM, cfg: Any) -> Photos:
    return module.protect(
        photos, [model], cfg, clean=None, rng=torch.Generator().manual_seed(SEED), state=RunState()
    )


def restated(small: LDM, square: Photos) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x (a leaf), z, eps, t and z_t as the release forms them, with the draws of the first PGD
    step."""
    g = torch.Generator().manual_seed(SEED)
    torch.rand(
        2 * len(square), generator=g
    )  # places of the crops; the photos are square, so they do not matter
    t = torch.randint(0, 1000, (len(square),), generator=g)
    x = torch.stack(square).requires_grad_(True)
    z = small.vae.encode(2 * x - 1).latent_dist.mean * 0.18215
    eps = torch.randn(z.shape, generator=g)
    z_t = DDPMScheduler.from_config(small.scheduler.config).add_noise(z, eps, t)
    return x, z, eps, t, z_t


def text(small: LDM, prompt: str, n: int) -> Tensor:
    ids = small.tokenizer(
        prompt, padding="max_length", max_length=77, return_tensors="pt"
    ).input_ids
    return small.text_encoder(ids)[0].detach().repeat(n, 1, 1)


def semantic(small: LDM, x: Tensor, eps: Tensor, t: Tensor, z_t: Tensor) -> Tensor:
    e_hat = small.denoiser(z_t, t, encoder_hidden_states=text(small, "a photo", len(x))).sample
    return torch.nn.functional.mse_loss(e_hat, eps)


def pattern_latent(small: LDM) -> Tensor:
    with torch.no_grad():
        return small.vae.encode(2 * targets.pattern(128) - 1).latent_dist.mean * 0.18215


@pytest.mark.parametrize("g", ["+", "-"])
def test_advdm_first_step(g: Any, small: LDM, square: Photos, first_gradient: list[Photos]) -> None:
    run(advdm, square, small, advdm.Config(steps=1, random_start=False, g=g))
    x, _, eps, t, z_t = restated(small, square)
    (theirs,) = torch.autograd.grad((1 if g == "+" else -1) * semantic(small, x, eps, t, z_t), x)
    assert relative_error(first_gradient[0], theirs) < 1e-4


@pytest.mark.parametrize("mode", ["semantic", "textural", "fused"])
def test_mist_first_step(
    mode: Any, small: LDM, square: Photos, first_gradient: list[Photos]
) -> None:
    """The release knows one photo at a time: mean of L_S over elements, sum of L_T."""
    one = square[:1]
    run(mist, one, small, mist.Config(steps=1, random_start=False, mode=mode))
    x, z, eps, t, z_t = restated(small, one)
    l_t = (z - pattern_latent(small)).square().sum()
    loss = {"semantic": 0, "textural": 1, "fused": 1}[mode] * l_t
    if mode != "textural":
        loss = loss - {"semantic": 1, "fused": 1e4}[mode] * semantic(small, x, eps, t, z_t)
    (theirs,) = torch.autograd.grad(-loss, x)
    assert relative_error(first_gradient[0], theirs) < 1e-4


@pytest.mark.parametrize("g", ["+", "-"])
def test_sds_first_step(g: Any, small: LDM, square: Photos, first_gradient: list[Photos]) -> None:
    run(sds, square, small, sds.Config(steps=1, g=g))
    x, z, eps, t, z_t = restated(small, square)
    with torch.no_grad():
        e_hat = small.denoiser(z_t, t, encoder_hidden_states=text(small, "a photo", len(x))).sample
    (theirs,) = torch.autograd.grad(
        z, x, grad_outputs=(e_hat - eps) * (1 if g == "+" else -1) / len(x)
    )
    assert relative_error(first_gradient[0], theirs) < 1e-4


def test_sdst_first_step(small: LDM, square: Photos, first_gradient: list[Photos]) -> None:
    one = square[:1]
    run(sdst, one, small, sdst.Config(steps=1))
    x, z, eps, t, z_t = restated(small, one)
    with torch.no_grad():
        e_hat = small.denoiser(z_t, t, encoder_hidden_states=text(small, "a photo", 1)).sample
    (g_sds,) = torch.autograd.grad(z, x, grad_outputs=e_hat - eps, retain_graph=True)
    (g_t,) = torch.autograd.grad((z - pattern_latent(small)).square().sum(), x)
    assert relative_error(first_gradient[0], -5 * g_sds - g_t) < 1e-4


def test_sds_averages_its_draws(small: LDM, square: Photos, first_gradient: list[Photos]) -> None:
    run(sds, square[:1], small, sds.Config(steps=1, draws=1))
    run(sds, square[:1], small, sds.Config(steps=1, draws=4))
    one, four = (torch.stack(g) for g in first_gradient)
    assert not torch.allclose(one, four) and 0.1 < four.norm() / one.norm() < 10


def test_photoguard_diffusion_first_step(
    small: LDM, square: Photos, first_gradient: list[Photos]
) -> None:
    """Four DDIM steps with guidance from 70 % of the schedule, written out with diffusers' own
    scheduler."""
    one = square[:1]
    cfg = replace(photoguard.PRESETS["diffusion"], steps=1, repetitions=1, prompt="a photo")
    run(photoguard, one, small, cfg)
    g = torch.Generator().manual_seed(SEED)
    torch.rand(2, generator=g)
    x = torch.stack(one).requires_grad_(True)
    z = small.vae.encode(2 * x - 1).latent_dist.mean * 0.18215
    scheduler = DDIMScheduler.from_config(small.scheduler.config, clip_sample=False)
    scheduler.set_timesteps(6)
    steps = scheduler.timesteps[2:]
    z = scheduler.add_noise(z, torch.randn(z.shape, generator=g), steps[0])
    c = torch.cat([text(small, "", 1), text(small, "a photo", 1)])
    for t in steps:
        free, held = small.denoiser(z.repeat(2, 1, 1, 1), t, encoder_hidden_states=c).sample.chunk(
            2
        )
        z = scheduler.step(free + 7.5 * (held - free), int(t), z).prev_sample
    picture = (small.vae.decode(z / 0.18215).sample / 2 + 0.5).clamp(0, 1)
    (theirs,) = torch.autograd.grad(-(picture - 0.5).square().sum(), x)
    assert len(steps) == 4 and relative_error(first_gradient[0], theirs) < 1e-4


def test_photoguard_diffusion_recomputes_passes_only_in_little_memory(
    small: LDM, square: Photos, first_gradient: list[Photos], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = replace(photoguard.PRESETS["diffusion"], steps=1, repetitions=3)
    passes, counts = [], []
    hook = small.denoiser.register_forward_pre_hook(lambda *_: passes.append(1))
    for free, low_memory in ((10**12, False), (10**12, True), (1, False)):
        monkeypatch.setattr(graph_memory, "free_memory", lambda device, n=free: n)
        passes.clear()
        run(photoguard, square[:2], replace(small, low_memory=low_memory), cfg)
        counts.append(len(passes))
    hook.remove()
    assert counts == [3 * 4, 2 * 3 * 4, 2 * 3 * 4]
    for again in first_gradient[1:]:
        assert all(torch.equal(a, b) for a, b in zip(first_gradient[0], again, strict=True))


def test_photoguard_diffusion_is_one_backward_through_all_repetitions(
    small: LDM, square: Photos, first_gradient: list[Photos]
) -> None:
    two = square[:2]
    run(photoguard, two, small, replace(photoguard.PRESETS["diffusion"], steps=1, repetitions=3))
    g = torch.Generator().manual_seed(SEED)
    leaves = [p.clone().requires_grad_(True) for p in two]
    z = small.encode(preprocess(leaves, small.size, SLIDE, g))
    c, free, total = small.embed(2 * [""]), small.unconditional(), torch.zeros(())
    for _ in range(3):
        scheduler, timesteps = small.plan("ddim", 6, 0.7)
        z_t = schedulers.noised(scheduler, z, small.noise(z.shape, g), timesteps[0])
        z_0 = small.denoise(z_t, c, free, scheduler, timesteps, guidance=7.5)
        total = total - (small.decode(z_0) - 0.5).square().sum() / 2 / 3
    theirs = torch.autograd.grad(total, leaves)
    assert all(torch.equal(a, b) for a, b in zip(first_gradient[0], theirs, strict=True))


def test_photoguard_diffusion_makes_edits_greyer(tiny: LDM, square: Photos) -> None:
    from cloakwork.attackers import sdedit

    one = square[:1]
    protected = run(photoguard, one, tiny, replace(photoguard.PRESETS["tiny-diffusion"], steps=12))
    cfg = sdedit.Config(strengths=(0.7,), steps=6, guidance=7.5)
    edits = [
        sdedit.attack(p, tiny, cfg, [""], rng=torch.Generator().manual_seed(8), state=RunState())
        for p in (one, protected)
    ]
    clean, cloaked = ((e - 0.5).square().mean() for e in edits)
    assert cloaked < 0.9 * clean


def test_targets_draw_latents(tiny: LDM, square: Photos) -> None:
    for module, cfg in ((mist, mist.PRESETS["tiny"]), (sdst, sdst.PRESETS["tiny"])):
        protected = run(module, square[:1], tiny, replace(cfg, steps=20))
        with torch.no_grad():
            far = [
                (tiny.encode(preprocess(p, 128)) - pattern_latent(tiny)).norm()
                for p in (square[:1], protected)
            ]
        assert far[1] < 0.9 * far[0], module.__name__


def test_signs_move_the_denoising_error_either_way(tiny: LDM, square: Photos) -> None:
    """Measured at the same timesteps and noise; + must raise it and - must lower it, for both
    methods."""
    for module in (advdm, sds):
        found = {}
        for name, g in (("up", "+"), ("down", "-")):
            protected = run(
                module, square[:1], tiny, replace(module.PRESETS["tiny"], steps=25, g=g)
            )
            found[name] = denoising_error(tiny, protected)
        before = denoising_error(tiny, square[:1])
        assert found["down"] < before < found["up"], (module.__name__, found, before)


def denoising_error(model: LDM, photos: Photos) -> float:
    rng, c = torch.Generator().manual_seed(9), model.embed(["a photo"])
    with torch.no_grad():
        z = model.encode(preprocess(photos, 128))
        return torch.stack([model.latent_loss(z, c, rng) for _ in range(16)]).mean().item()
