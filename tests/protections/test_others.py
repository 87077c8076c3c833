"""Glaze, SimAC, CAAT, PID, ACE and ours: first steps against independent statements of the losses,
and what is special."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from helpers.custom_diffusion import as_diffusers_does
from helpers.spies import Step, relative_error

from cloakwork.finetuning.weights import weights_of
from cloakwork.models import loading
from cloakwork.models.ldm import LDM
from cloakwork.models.lpips import load_lpips
from cloakwork.perturbation import pgd, targets, timestep_search
from cloakwork.perturbation.originals import Originals
from cloakwork.photos.preprocessing import preprocess
from cloakwork.protections import ace, aspl, caat, cloakwork, glaze, pid, simac
from cloakwork.state import RunState
from cloakwork.types import Photos
from cloakwork.workflows import dry_run

LEARNERS: dict[str, tuple[Any, Any]] = {
    "ace": (ace, replace(ace.PRESETS["tiny"], outer=3, steps=1, lora_steps=1, prior_weight=0)),
    "cloakwork": (
        cloakwork,
        replace(
            cloakwork.PRESETS["tiny"],
            steps=3,
            outer=3,
            clean_steps=1,
            pgd_steps=1,
            adv_steps=1,
            class_images=0,
        ),
    ),
    "simac": (
        simac,
        replace(
            simac.PRESETS["tiny"],
            steps=3,
            outer=3,
            clean_steps=1,
            pgd_steps=1,
            adv_steps=1,
            class_images=0,
        ),
    ),
    "caat": (caat, replace(caat.PRESETS["tiny"], steps=4)),
}


def run(module: Any, photos: Photos, model: LDM, cfg: Any, state: RunState | None = None) -> Photos:
    return module.protect(
        photos,
        [model],
        cfg,
        clean=None,
        rng=torch.Generator().manual_seed(4),
        state=state or RunState(),
    )


def error_against(step: Step, loss: Callable[[torch.Tensor], torch.Tensor]) -> float:
    x = torch.stack(step.x).requires_grad_(True)
    return relative_error(step.grads, torch.autograd.grad(loss(x), x)[0])


def posterior(model: LDM, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean, log_var = model.vae.quant_conv(model.vae.encoder(2 * x - 1)).chunk(2, dim=1)
    return mean, log_var.clamp(-30, 20)


def latent(model: LDM, x: torch.Tensor) -> torch.Tensor:
    return posterior(model, x)[0] * 0.18215


def text(model: LDM, prompt: str, n: int) -> torch.Tensor:
    ids = model.tokenizer(
        prompt, padding="max_length", max_length=77, return_tensors="pt"
    ).input_ids
    return model.text_encoder(ids)[0].detach().repeat(n, 1, 1)


def noised(model: LDM, z: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return DDPMScheduler.from_config(model.scheduler.config).add_noise(z, noise, t)


def skip_crops(g: torch.Generator, n: int) -> None:
    torch.rand(
        2 * n, generator=g
    )  # places of the crops; the photos are square, so they do not matter


# PID


def test_pid_first_step(small: LDM, square: Photos, steps: list[Step]) -> None:
    run(pid, square, small, pid.Config(steps=1))
    mean, log_var = posterior(small, torch.stack(square))

    def loss(x: torch.Tensor) -> torch.Tensor:
        m, v = posterior(small, x)
        return ((v - log_var) ** 2).mean() + ((m - mean) ** 2).mean()

    assert error_against(steps[0], loss) < 1e-4
    assert (pid.PRESETS["paper"].budget, pid.PRESETS["paper"].step, pid.PRESETS["paper"].steps) == (
        12.75,
        1,
        1000,
    )


def test_pid_sees_photo_and_original_through_the_same_crop(
    small: LDM, photos: Photos, rng: torch.Generator
) -> None:
    wide = [p for p in photos if p.shape[1] != p.shape[2]]
    assert len(wide) == 2
    distance = pid._distance(small, Originals(wide), rng)
    assert all(distance(wide, [0, 1])[0] == 0 for _ in range(3))
    assert distance(wide[1:], [1])[0] == 0


def test_pid_of_a_model_without_a_posterior_takes_the_latent_alone(
    square: Photos, steps: list[Step]
) -> None:
    model = loading.load("tiny-b", "cpu")
    run(pid, square[:1], model, pid.Config(steps=1))
    z = model.vae.encode(2 * torch.stack(square[:1]) - 1).latents

    def loss(x: torch.Tensor) -> torch.Tensor:
        return ((model.vae.encode(2 * x - 1).latents - z) ** 2).mean()

    assert error_against(steps[0], loss) < 1e-4


# Glaze


def test_glaze_first_step(small: LDM, square: Photos, steps: list[Step]) -> None:
    run(glaze, square, small, glaze.Config(steps=1, p=0.01))
    original, net = torch.stack(square), load_lpips()
    goal = posterior(small, torch.stack([glaze.restyle(p) for p in square]))[0]
    assert (net(torch.stack(steps[0].x), original) > 0.01).all(), "the penalty is not on"

    def loss(x: torch.Tensor) -> torch.Tensor:
        penalty = torch.clamp(net(x, original) - 0.01, min=0).mean()
        return -(((posterior(small, x)[0] - goal) ** 2).mean() + 30 * penalty)

    assert error_against(steps[0], loss) < 1e-4


def test_adam_on_pixels_is_adam() -> None:
    goal = [
        torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(1)) * 0.2 + 0.4,
        torch.full((3, 5, 5), 0.45),
    ]
    # coloured: a grey photo is changed in all its channels alike
    start = [torch.full_like(p, 0.5) + torch.tensor([0.01, 0, 0])[:, None, None] for p in goal]

    def nearness(x: Photos, which: list[int]) -> torch.Tensor:
        return -torch.stack(
            [(a - goal[i]).square().mean() for a, i in zip(x, which, strict=True)]
        ).sum()

    out = pgd.ascend(
        start,
        pgd.by_autograd(nearness),
        budget=100,
        step=0.5,
        steps=7,
        rng=torch.Generator(),
        update="adam",
        state=RunState(),
    )
    theirs = [p.clone().requires_grad_(True) for p in start]
    optimizer = torch.optim.Adam(theirs, lr=0.5 / 255)
    for _ in range(7):
        optimizer.zero_grad()
        (-nearness(theirs, [0, 1])).backward()
        optimizer.step()
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(out, theirs, strict=True))
    near = pgd.ascend(
        start,
        pgd.by_autograd(nearness),
        budget=1,
        step=0.5,
        steps=7,
        rng=torch.Generator(),
        update="adam",
        state=RunState(),
    )
    assert (
        max((a - b).abs().max().item() for a, b in zip(near, start, strict=True)) <= 1 / 255 + 1e-7
    )


def test_glaze_takes_on_the_style_and_lpips_holds_it_back(small: LDM, square: Photos) -> None:
    net, one, state = load_lpips(), square[:1], RunState()
    free = run(glaze, one, small, glaze.Config(steps=12, alpha=0), state)
    held = run(glaze, one, small, glaze.Config(steps=12, alpha=3000, p=0.0))
    far, near = (net(torch.stack(x), torch.stack(one)).item() for x in (free, held))
    assert state.trace[-1] > 0.85 * state.trace[0] and near < 0.7 * far


def test_glaze_towards_a_picture(small: LDM, square: Photos) -> None:
    goal = targets.latent(small, "pattern")
    out = run(glaze, square[:1], small, glaze.Config(steps=10, alpha=0, target="pattern"))
    with torch.no_grad():
        before, after = (
            (small.encode(preprocess(p, 128)) - goal).square().mean() for p in (square[:1], out)
        )
    assert after < 0.9 * before


@pytest.mark.parametrize("shape", [(3, 200, 130), (3, 9, 70), (3, 1, 1)])
def test_restyle_paints_a_photo_of_any_size(shape: tuple[int, ...]) -> None:
    photo = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    styled = glaze.restyle(photo)
    assert styled.shape == photo.shape and set((styled * 3).round().unique().tolist()) <= {
        0,
        1,
        2,
        3,
    }
    assert torch.equal(styled, glaze.restyle(photo))
    red = torch.tensor([1.0, 0.1, 0.1])[:, None, None].expand(3, 40, 40)
    assert torch.equal(glaze.restyle(red)[:, 20, 20], torch.tensor([0.0, 1.0, 0.0]))


# CAAT


def test_caat_one_backward_serves_both(small: LDM, square: Photos, steps: list[Step]) -> None:
    """The photos' gradient is the denoising error's, and so is the first step of keys and values,
    and of nothing else."""
    cfg = caat.Config(steps=1, lr=1e-3)
    theta, before = small.copy(), weights_of(small)
    gradient, carried = caat._learner(theta, len(square), cfg, torch.Generator().manual_seed(4))
    g = torch.Generator().manual_seed(4)
    skip_crops(g, len(square))
    _, grads = gradient(square, [0, 1, 2])
    t, noise = torch.randint(0, 1000, (3,), generator=g), torch.randn(3, 4, 16, 16, generator=g)

    other = small.copy()
    as_diffusers_does(other)
    kv = {
        f"unet.{k}": p.requires_grad_(True)
        for k, p in other.denoiser.named_parameters()
        if "attn2.to_k" in k or "attn2.to_v" in k
    }

    def loss(x: torch.Tensor) -> torch.Tensor:
        z_t = noised(other, posterior(other, x)[0] * 0.18215, noise, t)
        out = other.denoiser(
            z_t, t, encoder_hidden_states=text(other, "a photo of a person", 3)
        ).sample
        return torch.nn.functional.mse_loss(out, noise)

    assert error_against(Step(g.get_state(), square, grads), loss) < 1e-4
    theirs = dict(
        zip(kv, torch.autograd.grad(loss(torch.stack(square)), list(kv.values())), strict=True)
    )
    moved = {
        k: p - before[k] for k, p in weights_of(theta).items() if not torch.equal(p, before[k])
    }
    assert set(moved) == set(kv)
    for (
        name,
        g_theta,
    ) in theirs.items():  # AdamW's first step is against the sign, whatever the size
        clear = g_theta.abs() > 1e-5
        assert torch.allclose(
            moved[name][clear], -1e-3 * (g_theta.sign() + 1e-2 * before[name])[clear], atol=2e-5
        )
    assert set(carried.tensors()) >= {f"{k.removeprefix('unet.')} weight" for k in kv}


def test_caat_counts() -> None:
    """250 steps of both; more photos than a micro-batch holds share one step of the weights."""
    for photos, batches in ((4, 1), (11, 2)):
        counts = dry_run.count(caat, replace(caat.PRESETS["paper"], steps=5), photos=photos)
        assert (counts.pgd_steps, counts.training_steps, counts.unet_backward) == (
            5,
            5,
            5 * batches,
        )
    assert (
        caat.PRESETS["paper"].steps,
        caat.PRESETS["paper"].lr,
        caat.PRESETS["paper"].budget,
    ) == (250, 1e-5, 12.75)


# SimAC


def disturbance(
    model: LDM, z: torch.Tensor, square: Photos, g: torch.Generator, weight: float
) -> torch.Tensor:
    """The denoising error and the distance of features, for latents z and a generator as a step of
    PGD found it."""
    skip_crops(g, 3)
    t = torch.multinomial(torch.ones(3, 1000), 1, generator=g)[:, 0]
    noise, c = torch.randn(3, 4, 16, 16, generator=g), text(model, "a photo of <sks> person", 3)
    blocks = model.denoiser.up_blocks[-1].resnets

    def features(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The UNet's output, and each residual block's output less its input as it is added."""
        seen: list[torch.Tensor] = []
        hooks = [
            b.register_forward_hook(lambda b, a, out: seen.append(out - b.conv_shortcut(a[0])))
            for b in blocks
        ]
        out = model.denoiser(noised(model, z, noise, t), t, encoder_hidden_states=c).sample
        for hook in hooks:
            hook.remove()
        return out, torch.stack(seen)

    (out, f), (_, f_0) = features(z), features(latent(model, torch.stack(square)))
    return ((out - noise) ** 2).mean() + weight * ((f - f_0.detach()) ** 2).mean()


def test_simac_second_step_has_a_live_feature_loss(
    small: LDM, square: Photos, steps: list[Step]
) -> None:
    """At the photo itself its features do not differ, so the first step is ASPL's; the second is
    where the release fails."""
    cfg = simac.Config(steps=0, outer=1, clean_steps=0, pgd_steps=2, adv_steps=0, class_images=0)
    run(simac, square, small, cfg)
    assert len(steps) == 2

    def error(step: Step, weight: float) -> float:
        return error_against(
            step, lambda x: disturbance(small, latent(small, x), square, step.again(), weight)
        )

    assert all(error(step, 1.0) < 1e-4 for step in steps)
    assert error(steps[1], 0.0) > 0.01, "the feature loss does nothing"


def test_simac_keeps_timesteps_of_large_gradients(small: LDM, square: Photos) -> None:
    one, cfg = square[:1], replace(simac.PRESETS["tiny"], steps=15)
    how = {
        "budget": cfg.budget,
        "step": cfg.step,
        "rounds": cfg.steps,
        "rng": torch.Generator().manual_seed(0),
    }
    allowed = timestep_search.search(small, one, cfg.instance_prompt, **how)[0]
    assert 400 <= allowed.sum() < 800
    c, x = text(small, "a photo of <sks> person", 1), torch.stack(one).requires_grad_(True)
    noise, size = (
        torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3)),
        {True: [], False: []},
    )
    for at in range(10, 1000, 40):
        t = torch.tensor([at])
        z_t = noised(small, posterior(small, x)[0] * 0.18215, noise, t)
        error = ((small.denoiser(z_t, t, encoder_hidden_states=c).sample - noise) ** 2).mean()
        size[bool(allowed[at])].append(torch.autograd.grad(error, x)[0].abs().sum().item())
    assert min(len(s) for s in size.values()) > 1
    assert sum(size[True]) / len(size[True]) > 1.5 * sum(size[False]) / len(size[False])


def test_simac_draws_from_each_photos_own_timesteps() -> None:
    allowed = torch.zeros(2, 1000, dtype=torch.bool)
    allowed[0, [3, 4]] = allowed[1, 900] = True
    g = torch.Generator().manual_seed(0)
    drawn = torch.stack([timestep_search.draw(allowed, g) for _ in range(20)])
    assert set(drawn[:, 0].tolist()) == {3, 4} and set(drawn[:, 1].tolist()) == {900}


def test_simac_counts() -> None:
    """50 x (3 + 6 + 3), after at most 50 rounds of 5 probes and a step; the feature loss is one
    more UNet call a PGD step."""
    counts = dry_run.count(simac, replace(simac.PRESETS["paper"], outer=2, steps=4))
    assert (counts.pgd_steps, counts.training_steps) == (2 * 6, 2 * 6)
    assert counts.unet_backward == 4 * 6 + 2 * 6 + 2 * 6
    paper = simac.PRESETS["paper"]
    assert (paper.outer, paper.clean_steps, paper.pgd_steps, paper.adv_steps, paper.steps) == (
        50,
        3,
        6,
        3,
        50,
    )
    assert (paper.budget, paper.step, paper.lr) == (8, 0.64, 5e-7)


# ours


@pytest.mark.parametrize(("feature_weight", "unlikeness"), [(1.0, 0.0), (0.5, 1.0), (1.0, 2.0)])
def test_ours_second_step(
    feature_weight: float, unlikeness: float, small: LDM, square: Photos, steps: list[Step]
) -> None:
    """The first in which photos differ from originals: two gradients by a photo's latent, as long
    as their weights say."""
    short = {
        "steps": 0,
        "outer": 1,
        "clean_steps": 0,
        "pgd_steps": 2,
        "adv_steps": 0,
        "class_images": 0,
    }
    run(
        cloakwork,
        square,
        small,
        cloakwork.Config(feature_weight=feature_weight, unlikeness=unlikeness, **short),
    )
    x = torch.stack(steps[1].x).requires_grad_(True)
    z = latent(small, x)
    again = (small.vae.decode(z / 0.18215).sample / 2 + 0.5).clamp(0, 1)
    disturbed = disturbance(small, z, square, steps[1].again(), feature_weight)
    terms = [disturbed, load_lpips()(again, torch.stack(square)).sum()]
    ways = [torch.autograd.grad(term, z, retain_graph=True)[0] for term in terms]
    ways = [way / way.square().sum((1, 2, 3), keepdim=True).sqrt() for way in ways]
    (theirs,) = torch.autograd.grad(z, x, ways[0] + unlikeness * ways[1])
    assert relative_error(steps[1].grads, theirs) < 1e-4


def test_ours_counts() -> None:
    """At most a tenth of released MetaCloak's 14,400 PGD steps; a PGD step is SimAC's with a pass
    through the decoder."""
    cfg = cloakwork.PRESETS["paper"]
    assert cfg.outer * cfg.pgd_steps + cfg.steps <= 1440
    ours, theirs = (
        dry_run.count(module, replace(module.PRESETS["paper"], outer=2, steps=4))
        for module in (cloakwork, simac)
    )
    assert ours.vae_decode == theirs.vae_decode + 2 * 6
    assert (ours.unet_backward, ours.training_steps) == (
        theirs.unet_backward,
        theirs.training_steps,
    )


# ACE


def test_ace_first_step(small: LDM, square: Photos, steps: list[Step]) -> None:
    cfg = ace.Config(outer=1, steps=1, lora_steps=0, prior_weight=0)
    run(ace, square, small, cfg)
    g = steps[0].again()
    skip_crops(g, 3)
    t, noise = torch.randint(0, 1000, (3,), generator=g), torch.randn(3, 4, 16, 16, generator=g)
    z_target = posterior(small, targets.pattern(128))[0] * 0.18215

    def loss(x: torch.Tensor) -> torch.Tensor:
        z_t = noised(small, posterior(small, x)[0] * 0.18215, noise, t)
        return -(
            (
                small.denoiser(z_t, t, encoder_hidden_states=text(small, "a picture", 3)).sample
                - z_target
            )
            ** 2
        ).mean()

    assert error_against(steps[0], loss) < 1e-4


def test_ace_counts() -> None:
    """5 x (30 + 10), ten steps of the LoRA layers a round however many photos there are."""
    for photos in (1, 4):
        counts = dry_run.count(ace, replace(ace.PRESETS["paper"], class_images=0), photos=photos)
        assert (counts.pgd_steps, counts.training_steps) == (5 * 30, 5 * 10)
    paper = ace.PRESETS["paper"]
    assert (paper.budget, paper.step, paper.lora_rank, paper.lr, paper.prior_weight) == (
        4,
        0.64,
        4,
        1e-4,
        0.1,
    )


def test_ace_learns_between_rounds_by_lora_alone(
    small: LDM, square: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first round is the same with and without learning, the second is not; the base model
    below stays as it was."""
    seen: list[LDM] = []
    original = ace.adapters.add_lora

    def watch(theta: LDM, *args: Any, **how: Any) -> None:
        original(theta, *args, **how)
        seen.append(theta)

    monkeypatch.setattr(ace.adapters, "add_lora", watch)
    cfg = replace(ace.PRESETS["tiny"], outer=1, steps=1, prior_weight=0)
    once = [run(ace, square[:1], small, replace(cfg, lora_steps=n))[0] for n in (0, 3)]
    twice = [run(ace, square[:1], small, replace(cfg, lora_steps=n, outer=2))[0] for n in (0, 3)]
    assert torch.equal(*once) and not torch.equal(*twice)
    before, after = weights_of(small), weights_of(seen[-1])
    assert all(
        torch.equal(p, before[k.replace(".base_layer", "")])
        for k, p in after.items()
        if ".lora_" not in k
    )
    assert all(p.abs().max() > 0 for k, p in after.items() if ".lora_B." in k)


def test_ace_draws_the_seen_noise_to_the_target(tiny: LDM, square: Photos) -> None:
    out = run(
        ace,
        square[:1],
        tiny,
        replace(ace.PRESETS["tiny"], outer=1, steps=25, lora_steps=0, prior_weight=0),
    )
    goal, c = targets.latent(tiny, "pattern"), tiny.embed(["a photo of sks person"])

    def distance(photos: Photos) -> float:
        g, z = (
            torch.Generator().manual_seed(6),
            tiny.encode(torch.stack(photos)).expand(16, -1, -1, -1),
        )
        t, noise = torch.randint(0, 1000, (16,), generator=g), torch.randn(z.shape, generator=g)
        with torch.no_grad():
            return (
                (tiny.predict_noise(noised(tiny, z, noise, t), t, c) - goal).square().mean().item()
            )

    assert distance(out) < distance(square[:1]) - 0.02


# what learns


@pytest.mark.parametrize("name", LEARNERS)
def test_the_surrogate_is_left_as_it_was(name: str, small: LDM, square: Photos) -> None:
    before = {k: v.clone() for k, v in weights_of(small).items()}
    run(*LEARNERS[name][:1], square[:1], small, LEARNERS[name][1])
    now = weights_of(small)
    assert set(now) == set(before) and all(torch.equal(v, before[k]) for k, v in now.items())
    assert not any(
        p.requires_grad for part in (small.denoiser, small.text_encoder) for p in part.parameters()
    )


@pytest.mark.parametrize("name", LEARNERS)
def test_interrupted_while_learning_and_resumed_is_the_same(
    name: str, small: LDM, square: Photos, tmp_path: Path
) -> None:
    module, cfg = LEARNERS[name]
    done: list[int] = []

    def stop(label: str, at: int, of: int) -> None:
        if at == 3 and label != "timesteps":
            raise KeyboardInterrupt

    whole = run(module, square[:1], small, cfg)
    path = tmp_path / "s.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(module, square[:1], small, cfg, RunState(path, progress=stop, checkpoint_seconds=0))
    resumed = run(
        module,
        square[:1],
        small,
        cfg,
        RunState(path, progress=lambda label, at, of: done.append(at), checkpoint_seconds=0),
    )
    assert done[0] == 3 and torch.equal(whole[0], resumed[0])


def test_a_search_for_timesteps_is_not_done_twice(
    small: LDM, square: Photos, tmp_path: Path
) -> None:
    module, cfg = LEARNERS["simac"]
    labels: list[str] = []

    def stop(label: str, at: int, of: int) -> None:
        if label not in ("timesteps", "class pictures") and at == 1:
            raise KeyboardInterrupt

    path = tmp_path / "s.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(module, square[:1], small, cfg, RunState(path, progress=stop, checkpoint_seconds=0))
    resumed = run(
        module,
        square[:1],
        small,
        cfg,
        RunState(path, progress=lambda label, at, of: labels.append(label), checkpoint_seconds=0),
    )
    assert "timesteps" not in labels and torch.equal(
        resumed[0], run(module, square[:1], small, cfg)[0]
    )


@pytest.mark.parametrize("name", LEARNERS)
def test_several_surrogates_all_count(name: str, small: LDM, square: Photos) -> None:
    module, cfg = LEARNERS[name]
    g, models = torch.Generator().manual_seed(4), [small, loading.load("tiny-b", "cpu")]
    both = module.protect(square[:1], models, cfg, clean=None, rng=g, state=RunState())
    assert not torch.equal(both[0], run(module, square[:1], small, cfg)[0])


@pytest.mark.parametrize(
    ("module", "shorter"),
    [
        (pid, {"steps": 2}),
        (aspl, {"outer": 1, "prior_weight": 0}),
        (cloakwork, {"outer": 1, "steps": 0, "clean_steps": 0, "pgd_steps": 1, "adv_steps": 0}),
    ],
)
def test_bfloat16_of_a_preset_is_that_of_the_surrogates(
    module: Any, shorter: dict[str, Any], photos: Photos, small: LDM
) -> None:
    """The same bytes by the field as by models loaded so, and others than in float32."""

    def run(dtype: str, model: LDM) -> Photos:
        cfg = replace(module.PRESETS["tiny-bf16"], arithmetic=dtype, **shorter)
        rng = torch.Generator().manual_seed(0)
        return module.protect(photos[:1], [model], cfg, clean=None, rng=rng, state=RunState())

    by_field, by_model, exact = (
        run("bfloat16", small),
        run("", small.computing_in("bfloat16")),
        run("", small),
    )
    assert torch.equal(by_field[0], by_model[0])
    assert not torch.equal(by_field[0], exact[0])
