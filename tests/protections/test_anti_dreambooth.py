"""The first step is the paper's: gradients against independent statements of the published losses,
in plain torch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import DDPMScheduler
from helpers.spies import relative_error

from cloakwork.models.ldm import LDM
from cloakwork.perturbation import alternating, targets
from cloakwork.photos.preprocessing import preprocess
from cloakwork.protections import aspl, noise, photoguard
from cloakwork.state import RunState
from cloakwork.types import Photos


def run(module: object, photos: Photos, model: LDM, cfg: object) -> Photos:
    return module.protect(
        photos, [model], cfg, clean=None, rng=torch.Generator().manual_seed(4), state=RunState()
    )  # type: ignore[attr-defined]


def test_photoguard_first_step(small: LDM, square: Photos, first_gradient: list[Photos]) -> None:
    run(photoguard, square, small, photoguard.Config(steps=1, random_start=False))
    x = torch.stack(square).requires_grad_(True)
    mean = small.vae.encode(2 * x - 1).latent_dist.mean * 0.18215
    (theirs,) = torch.autograd.grad(-(mean**2).sum() / len(x), x)
    assert relative_error(first_gradient[0], theirs) < 1e-4


def denoising_error(
    small: LDM, x: torch.Tensor, g: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """DreamBooth's loss on square photos, one timestep and one noise a photo, and the latents it is
    of."""
    torch.rand(
        2 * len(x), generator=g
    )  # places of the crops; the photos are square, so they do not matter
    t = torch.randint(0, 1000, (len(x),), generator=g)
    z = small.vae.encode(2 * x - 1).latent_dist.mean * 0.18215
    noise = torch.randn(z.shape, generator=g)
    ids = small.tokenizer(
        "a photo of <sks> person", padding="max_length", max_length=77, return_tensors="pt"
    ).input_ids
    c = small.text_encoder(ids)[0].detach().repeat(len(x), 1, 1)
    z_t = DDPMScheduler.from_config(small.scheduler.config).add_noise(z, noise, t)
    return torch.nn.functional.mse_loss(
        small.denoiser(z_t, t, encoder_hidden_states=c).sample, noise
    ), z


def test_aspl_first_step(small: LDM, square: Photos, first_gradient: list[Photos]) -> None:
    """With no surrogate steps before it."""
    cfg = aspl.Config(outer=1, clean_steps=0, pgd_steps=1, adv_steps=0, prior_weight=0)
    run(aspl, square, small, cfg)
    x = torch.stack(square).requires_grad_(True)
    loss, _ = denoising_error(small, x, torch.Generator().manual_seed(4))
    (theirs,) = torch.autograd.grad(loss, x)
    assert relative_error(first_gradient[0], theirs) < 1e-4


def test_aspl_counts_its_steps(
    small: LDM, square: Photos, monkeypatch: pytest.MonkeyPatch, first_gradient: list[Photos]
) -> None:
    """50 x (3 + 6 + 3) in the paper; here 2 x (3 + 6 + 3)."""
    calls = {"learn": 0}
    learn = alternating.train_steps

    def count_learn(*args: object, **more: object) -> None:
        calls["learn"] += args[4]  # type: ignore[operator]
        learn(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(alternating, "train_steps", count_learn)
    run(aspl, square[:1], small, aspl.Config(outer=2, class_images=2))
    assert calls == {"learn": 12} and len(first_gradient) == 12
    assert (
        aspl.PRESETS["paper"].outer,
        aspl.PRESETS["paper"].budget,
        aspl.PRESETS["paper"].lr,
    ) == (50, 6.4, 5e-7)


def test_aspl_leaves_the_surrogate_as_it_was(small: LDM, square: Photos) -> None:
    before = {k: v.clone() for k, v in small.denoiser.state_dict().items()}
    run(aspl, square, small, aspl.Config(outer=1, class_images=2, lr=1e-3))
    assert all(torch.equal(v, before[k]) for k, v in small.denoiser.state_dict().items())


def test_aspl_learns_from_the_clean_set_when_there_is_one(small: LDM, square: Photos) -> None:
    cfg = aspl.Config(outer=1, prior_weight=0, lr=1e-3)
    one = aspl.protect(
        square[:1], [small], cfg, clean=None, rng=torch.Generator().manual_seed(4), state=RunState()
    )
    two = aspl.protect(
        square[:1],
        [small],
        cfg,
        clean=square[1:],
        rng=torch.Generator().manual_seed(4),
        state=RunState(),
    )
    assert not torch.equal(one[0], two[0])


def test_photoguard_comes_near_its_target(small: LDM, square: Photos) -> None:
    for target in ("zero", "grey"):
        cfg = replace(photoguard.PRESETS["tiny"], steps=25, target=target)
        protected = run(photoguard, square, small, cfg)
        goal = targets.latent(small, target)
        with torch.no_grad():
            before, after = (
                (small.encode(preprocess(p, 128)) - goal).square().mean()
                for p in (square, protected)
            )
        assert after < 0.8 * before


def test_several_surrogates_all_count(small: LDM, square: Photos) -> None:
    """With equal weight, in the mean: their order does not matter up to random draws, and leaving
    one out does."""
    other = small.copy()
    with torch.no_grad():
        for p in other.denoiser.parameters():
            p.mul_(0.9)
    cfg = aspl.Config(outer=1, clean_steps=0, adv_steps=0, prior_weight=0, pgd_steps=2)

    def both(*surrogates: LDM, **how: str) -> torch.Tensor:
        g = torch.Generator().manual_seed(4)
        return (
            aspl.protect(
                square[:1],
                list(surrogates),
                replace(cfg, **how),
                clean=None,
                rng=g,
                state=RunState(),
            )[0]
            - square[0]
        )

    mean, turns, first = both(small, other), both(small, other, ensemble="turns"), both(small)
    assert not torch.equal(mean, first) and not torch.equal(mean, turns)
    assert (turns.abs().mean() > first.abs().mean()) and (mean.abs().mean() < turns.abs().mean())


def test_noise_is_signs_at_the_budget(square: Photos, small: LDM) -> None:
    inside = [p * 0.5 + 0.25 for p in square]
    out = run(noise, inside, small, noise.Config(budget=8))
    for a, b in zip(out, inside, strict=True):
        change = (a - b) * 255
        assert (
            torch.allclose(change.abs(), torch.tensor(8.0), atol=1e-3) and change.mean().abs() < 0.5
        )
