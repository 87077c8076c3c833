"""FSMG, targeted and low-memory ASPL, MetaCloak: schedules, first steps, pools, and surrogates that
stay as they were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from helpers.spies import Step, relative_error
from safetensors.torch import load_file
from torch import Tensor

from cloakwork import registry
from cloakwork.errors import UserError
from cloakwork.finetuning.latent_dataset import encode_dataset
from cloakwork.finetuning.training import Training
from cloakwork.finetuning.weights import set_weights, weights_of
from cloakwork.models.ldm import LDM
from cloakwork.models.text import Text
from cloakwork.perturbation import losses, targets
from cloakwork.perturbation import snapshots as on_disk
from cloakwork.perturbation import surrogates as pool
from cloakwork.perturbation.snapshots import snapshots
from cloakwork.perturbation.surrogates import Pool, _move
from cloakwork.photos.preprocessing import CENTRE, Preprocessing
from cloakwork.protections import aspl, fsmg, metacloak
from cloakwork.state import RunState
from cloakwork.types import Photos
from cloakwork.workflows import dry_run

QUICK = Training(lr=1e-3, prior_weight=0)
FSMG = fsmg.Config(surrogate_steps=2, steps=1, training=QUICK)
ASPL = aspl.Config(outer=1, clean_steps=1, pgd_steps=1, adv_steps=1, prior_weight=0, lr=1e-3)
PAPER = metacloak.Config(steps=1, M=2, surrogate_steps=2, training=QUICK)
RELEASE = metacloak.Config(
    variant="release",
    trials=2,
    interval=2,
    advance=1,
    pgd_steps=1,
    surrogate_steps=2,
    training=QUICK,
)
METHODS: list[tuple[Any, Any]] = [
    (fsmg, FSMG),
    (fsmg, replace(FSMG, lora_rank=2)),
    (aspl, replace(ASPL, lora_rank=2)),
    (metacloak, PAPER),
]
Weights = dict[str, Tensor]


@pytest.fixture
def square(photos: Photos) -> Photos:
    return [p[:, :128, :128].contiguous() for p in photos[:2]]


@pytest.fixture
def attacked(monkeypatch: pytest.MonkeyPatch) -> list[Weights]:
    """The weights of every surrogate that MetaCloak or FSMG asks for an error, at that moment."""
    seen: list[Weights] = []
    denoising = losses.denoising

    def watched(ldm: LDM, c: Tensor, rng: torch.Generator) -> losses.LatentLoss:
        seen.append({k: p.clone() for k, p in weights_of(ldm).items()})
        return denoising(ldm, c, rng)

    monkeypatch.setattr(losses, "denoising", watched)
    return seen


def run(
    module: Any,
    photos: Photos,
    *models: LDM,
    cfg: Any,
    clean: Photos | None = None,
    state: RunState | None = None,
) -> Photos:
    return module.protect(
        photos,
        list(models),
        cfg,
        clean=clean,
        rng=torch.Generator().manual_seed(4),
        state=state or RunState(),
    )


def test_laptop_presets_share_their_class_pictures() -> None:
    """They are kept by what decides them, so what one method drew is there for the next."""
    learners = [
        module
        for name, _ in registry.listing("protections")
        if hasattr((module := registry.load("protections", name)).PRESETS["tiny"], "class_images")
    ]
    assert len(learners) == 6
    laptop, paper = (
        [
            (c.class_images, c.class_sampling_steps, c.class_prompt)
            for c in (module.PRESETS[preset] for module in learners)
        ]
        for preset in ("tiny", "paper")
    )
    assert set(laptop) == {(16, 25, "a photo of person")}
    assert all(n >= 50 and steps == 25 for n, steps, _ in paper)


def text_of(model: LDM) -> Tensor:
    ids = model.tokenizer(
        "a photo of <sks> person", padding="max_length", max_length=77, return_tensors="pt"
    ).input_ids
    return model.text_encoder(ids)[0].detach()


def error_of(model: LDM, x: Tensor, g: torch.Generator) -> Tensor:
    """DreamBooth's loss of pictures that a loader has seen, in plain torch."""
    t = torch.randint(0, 1000, (len(x),), generator=g)
    z = model.vae.encode(2 * x - 1).latent_dist.mean * 0.18215
    noise = torch.randn(z.shape, generator=g)
    z_t = DDPMScheduler.from_config(model.scheduler.config).add_noise(z, noise, t)
    return F.mse_loss(
        model.denoiser(z_t, t, encoder_hidden_states=text_of(model).repeat(len(x), 1, 1)).sample,
        noise,
    )


def with_weights(model: LDM, weights: Weights) -> LDM:
    copy = model.copy()
    set_weights(copy, weights)
    return copy


def test_released_metacloak_is_counted_from_its_config() -> None:
    plan = metacloak.schedule(metacloak.PRESETS["release"])
    assert (len(plan.turns), plan.pgd_steps, plan.surrogate_steps) == (2400, 14400, 5800)
    assert metacloak.pool_steps(metacloak.PRESETS["release"]) == [0, 199, 399, 599, 799, 999]
    assert [t.member for t in plan.turns if t.restart] == 4 * [0, 1, 2, 3, 4, 5]
    tenth = metacloak.schedule(metacloak.PRESETS["tiny-release"])
    assert (len(tenth.turns), tenth.pgd_steps, tenth.surrogate_steps) == (240, 1440, 580)


def test_the_other_schedules_are_counted_from_their_configs() -> None:
    alternating, fully = aspl.schedule(aspl.PRESETS["paper"]), fsmg.schedule(fsmg.PRESETS["paper"])
    assert (alternating.pgd_steps, alternating.surrogate_steps) == (300, 300)
    assert (fully.pgd_steps, fully.surrogate_steps) == (100, 1000)
    ensemble = fsmg.schedule(fsmg.PRESETS["ensemble"], 3)
    assert [t.pgd for t in ensemble.turns] == 60 * [12]
    assert [t.pgd for t in fsmg.schedule(fsmg.Config(steps=30), 2).turns] == [12, 12, 6]
    assert metacloak.pool_steps(metacloak.Config(M=3, surrogate_steps=100)) == [33, 66, 100]


@pytest.mark.parametrize(
    ("module", "cfg"),
    [
        (aspl, replace(ASPL, outer=3, pgd_steps=2)),
        (fsmg, replace(FSMG, steps=5)),
        (
            metacloak,
            replace(PAPER, steps=3, B=2, K=3, J=2, training=Training(lr=1e-3), class_images=3),
        ),
        (metacloak, replace(RELEASE, pgd_steps=3, interval=4, advance=2, surrogate_steps=9)),
    ],
)
def test_the_loops_do_what_the_schedules_say(module: Any, cfg: Any) -> None:
    counts, plan = dry_run.count(module, cfg), module.schedule(cfg)
    assert (counts.pgd_steps, counts.training_steps) == (plan.pgd_steps, plan.surrogate_steps)
    each = cfg.B * cfg.J if module is metacloak and cfg.variant == "paper" else 1
    assert counts.vae_encode_backward == each * plan.pgd_steps


def test_fsmg_first_step(
    small: LDM, square: Photos, steps: list[Step], attacked: list[Weights]
) -> None:
    """Against a surrogate that has learned the clean photos: the gradient of DreamBooth's loss with
    the trained weights."""
    run(fsmg, square, small, cfg=FSMG, clean=square[1:])
    assert any(not torch.equal(p, attacked[0][k]) for k, p in weights_of(small).items())
    g = torch.Generator().set_state(steps[0].rng)
    torch.rand(
        2 * len(square), generator=g
    )  # places of the crops; the photos are square, so they do not matter
    x = torch.stack(square).requires_grad_(True)
    (theirs,) = torch.autograd.grad(error_of(with_weights(small, attacked[0]), x, g), x)
    assert relative_error(steps[0].grads, theirs) < 1e-4
    (of_the_base,) = torch.autograd.grad(
        error_of(small, x, torch.Generator().set_state(g.get_state())), x
    )
    assert relative_error(steps[0].grads, of_the_base) > 1e-2


def test_fsmg_learns_the_clean_photos_when_there_are_some(
    small: LDM, square: Photos, attacked: list[Weights]
) -> None:
    for clean in (None, square[:1], square[1:]):
        run(fsmg, square[:1], small, cfg=replace(FSMG, steps=0), clean=clean)
    name = "unet.conv_in.weight"
    assert torch.equal(attacked[0][name], attacked[1][name]) and not torch.equal(
        attacked[0][name], attacked[2][name]
    )


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("first", [0, 700])
def test_targeted_loss(
    kind: str, first: int, small: LDM, rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The release's: diffusers' own DDPM step, one latent at a time, but for t = 0, where
    q(z_target, -1) is z_target itself."""
    scheduler = DDPMScheduler.from_config(
        small.scheduler.config, prediction_type=kind, clip_sample=False
    )
    model = replace(small, scheduler=scheduler)
    t = torch.tensor([first, 400])
    monkeypatch.setattr(LDM, "timesteps", lambda self, n, rng: t)
    z, z_target = torch.randn(2, 4, 16, 16, generator=rng), torch.randn(1, 4, 16, 16, generator=rng)
    before, c = rng.get_state(), model.embed(["a photo of sks person"])
    value, grad = losses.targeted(model, c, rng, z_target)(z)

    g, leaf = torch.Generator().set_state(before), z.clone().requires_grad_(True)
    noise = torch.randn(z.shape, generator=g)
    z_t = scheduler.add_noise(leaf, noise, t)
    out = model.denoiser(z_t, t, encoder_hidden_states=c.expand(2).hidden).sample
    goal = noise if kind == "epsilon" else scheduler.get_velocity(leaf, noise, t)
    draws = torch.randn(z.shape, generator=g)
    distance = torch.zeros(())
    for i in range(2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "diffusers.schedulers.scheduling_ddpm.randn_tensor",
                lambda *_, i=i, **__: draws[i : i + 1],
            )
            step = scheduler.step(out[i : i + 1], int(t[i]), z_t[i : i + 1]).prev_sample
        wanted = (
            scheduler.add_noise(z_target, noise[i : i + 1], t[i : i + 1] - 1) if t[i] else z_target
        )
        distance = distance + F.mse_loss(step, wanted) / 2
    loss = F.mse_loss(out, goal) - distance
    (theirs,) = torch.autograd.grad(loss, leaf)
    assert abs(value - loss) < 1e-4 * abs(loss) and relative_error(list(grad), theirs) < 1e-4


@pytest.mark.parametrize(
    ("module", "cfg"),
    [(fsmg, replace(FSMG, surrogate_steps=0)), (aspl, replace(ASPL, clean_steps=0))],
)
def test_a_target_changes_the_first_gradient_to_the_targeted_one(
    module: Any, cfg: Any, small: LDM, square: Photos, steps: list[Step]
) -> None:
    for target in ("", "pattern"):
        run(module, square[:1], small, cfg=replace(cfg, target=target))
    g = torch.Generator().set_state(steps[1].rng)
    term = losses.targeted(small, Text(text_of(small)), g, targets.latent(small, "pattern"))
    _, theirs = losses.gradient(small, term, g)(square[:1], [0])
    assert relative_error(steps[1].grads, torch.stack(theirs)) < 1e-4
    assert relative_error(steps[0].grads, torch.stack(theirs)) > 1e-2


@pytest.mark.parametrize(("module", "cfg"), [(fsmg, FSMG), (aspl, ASPL)])
def test_an_unknown_target_is_the_users_mistake(
    module: Any, cfg: Any, small: LDM, square: Photos
) -> None:
    with pytest.raises(UserError, match="no target"):
        run(module, square[:1], small, cfg=replace(cfg, target="no-such.png"))


def test_fsmg_averages_what_several_surrogates_did_from_the_same_photos(
    small: LDM, square: Photos, tmp_path: Path
) -> None:
    inside = [square[0] * 0.5 + 0.25]
    cfg = fsmg.Config(surrogate_steps=0, steps=2, step=1, turn=1, training=QUICK)
    change = (run(fsmg, inside, small, small, cfg=replace(cfg, steps=1))[0] - inside[0]) * 255
    sizes = change.abs().round(decimals=3).unique().tolist()
    assert sizes == [0, 1], "two sign steps of 1 agree or cancel"

    done: list[int] = []

    def stop(label: str, now: int, total: int) -> None:
        done.append(now)
        if done == [1, 2]:
            raise KeyboardInterrupt

    path = tmp_path / "s.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run(
            fsmg,
            inside,
            small,
            small,
            cfg=cfg,
            state=RunState(path, progress=stop, checkpoint_seconds=0),
        )
    resumed = run(
        fsmg,
        inside,
        small,
        small,
        cfg=cfg,
        state=RunState(path, progress=stop, checkpoint_seconds=0),
    )
    assert torch.equal(resumed[0], run(fsmg, inside, small, small, cfg=cfg)[0]) and done == [
        1,
        2,
        2,
    ]


@pytest.mark.parametrize(("module", "cfg"), METHODS)
def test_surrogates_stay_as_they_were(module: Any, cfg: Any, small: LDM, square: Photos) -> None:
    before = {k: p.clone() for k, p in weights_of(small).items()}
    run(module, square[:1], small, cfg=cfg)
    after = weights_of(small)
    assert after.keys() == before.keys() and all(
        torch.equal(p, before[k]) for k, p in after.items()
    )
    assert not any(
        p.requires_grad for p in [*small.denoiser.parameters(), *small.text_encoder.parameters()]
    )


def test_lora_surrogates_learn_in_their_adapters_alone_and_resume(
    small: LDM, square: Photos, tmp_path: Path
) -> None:
    cfg, path = replace(ASPL, outer=3, lora_rank=2), tmp_path / "s.safetensors"

    def stop(label: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            aspl,
            square[:1],
            small,
            cfg=cfg,
            state=RunState(path, progress=stop, checkpoint_seconds=0),
        )
    kept = {k.partition(".")[2] for k in load_file(path)} - {"", "0"}
    assert kept and all(".lora_" in name for name in kept)
    assert any(p.any() for name, p in load_file(path).items() if ".lora_B." in name), (
        "they did not learn"
    )
    resumed = run(aspl, square[:1], small, cfg=cfg, state=RunState(path))
    assert torch.equal(resumed[0], run(aspl, square[:1], small, cfg=cfg)[0])
    still = run(aspl, square[:1], small, cfg=replace(cfg, lr=0))
    assert not torch.equal(resumed[0], still[0])


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A pretended one, too small for two models; collects how many are on it after each move."""
    home, place = torch.device("cpu", 0), torch.device("cpu")
    where: dict[int, torch.device] = {}
    crowd: list[int] = []
    move, predict = _move, LDM.predict

    def moving(ldm: LDM, device: torch.device) -> None:
        move(ldm, device)
        where[id(ldm.denoiser)] = device
        crowd.append(sum(d == place for d in where.values()))

    def predicting(self: LDM, *rest: Any) -> Tensor:
        assert where[id(self.denoiser)] == place, "a model worked at home"
        return predict(self, *rest)

    monkeypatch.setattr(pool, "CPU", home)
    monkeypatch.setattr(pool, "_crowded", lambda surrogates: len(surrogates) > 1)
    monkeypatch.setattr(pool, "_move", moving)
    monkeypatch.setattr(LDM, "predict", predicting)
    monkeypatch.setattr(
        LDM, "device", property(lambda self: where.get(id(self.denoiser), home if crowd else place))
    )
    yield crowd


@pytest.mark.parametrize(
    ("module", "cfg"), [(fsmg, FSMG), (aspl, ASPL), (metacloak, replace(PAPER, B=2))]
)
def test_one_surrogate_at_a_time_changes_nothing(
    module: Any, cfg: Any, small: LDM, square: Photos, request: pytest.FixtureRequest
) -> None:
    models = [replace(small.copy(), weights=name) for name in ("one", "two")]
    together = run(module, square[:1], *models, cfg=cfg)
    crowd = request.getfixturevalue("accelerator")
    apart = run(module, square[:1], *models, cfg=cfg)
    assert torch.equal(together[0], apart[0])
    middle = crowd[2:-2]  # before: the originals leave; after: they come back
    assert crowd[1] == 0 and max(middle) == 1 and min(middle) == 0 and crowd[-1] == 2


def test_snapshots_are_of_one_training_kept_and_gone_on_with(
    small: LDM, square: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the published places; read again for the same content; other photos, seeds and rates are
    other pools."""
    monkeypatch.setattr(on_disk, "RunState", partial(RunState, checkpoint_seconds=0))
    subject = encode_dataset(small, torch.stack(square[:1]), "a photo of sks person")

    def make(
        seed: int = 1, lr: float = 1e-3, progress: Any = None, subject: Any = subject
    ) -> list[Path]:
        return snapshots(
            small.copy(), subject, None, Training(lr=lr), 4, [0, 1, 3, 4], seed, progress
        )

    def stop(label: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(progress=stop)
    took: list[int] = []
    files = make(progress=lambda label, done, total: took.append(done))
    assert took == [3, 4] and [f.stem for f in files] == ["0", "1", "3", "4"]
    names = {f.name for f in files[0].parent.iterdir()}
    assert names == {f.name for f in files}, "nothing is left of the training"
    weights = [load_file(f) for f in files]
    assert all(torch.equal(p, weights[0][k]) for k, p in weights_of(small).items())
    away = [sum((p - weights[0][k]).square().sum() for k, p in w.items()) for w in weights]
    assert away[0] == 0 < away[1] < away[2] < away[3]

    others = {
        make(seed=2)[0].parent,
        make(lr=2e-3)[0].parent,
        make(subject=replace(subject, prompt="a photo"))[0].parent,
    }
    whole = snapshots(small.copy(), subject, None, Training(lr=1e-3), 4, [3, 4], 1)
    assert all(torch.equal(p, weights[3][k]) for k, p in load_file(whole[1]).items()), (
        "an interruption changed the pool"
    )
    monkeypatch.setattr(on_disk, "finetune", None)  # may not be asked for again
    assert make() == files and len(others | {files[0].parent}) == 4


def blurred(x: Tensor, sigma: Tensor) -> Tensor:
    """A Gaussian blur of kernel 7 for each picture, in plain torch."""
    at = torch.arange(-3.0, 4.0)
    kernels = torch.exp(-at.square() / (2 * sigma[:, None].square()))
    kernels = kernels / kernels.sum(1, keepdim=True)
    rows = [
        F.conv2d(F.pad(p[:, None], (3, 3, 3, 3), mode="reflect"), torch.outer(k, k)[None, None])
        for p, k in zip(x, kernels, strict=True)
    ]
    return torch.stack([r[:, 0] for r in rows])


def test_metacloak_first_step(
    small: LDM, square: Photos, steps: list[Step], attacked: list[Weights]
) -> None:
    """The mean over B members, K steps ahead, and J transformations whose parameters each photo has
    its own of."""
    run(metacloak, square, small, cfg=replace(PAPER, B=2, K=2, J=2))
    g, x = torch.Generator().set_state(steps[0].rng), torch.stack(square).requires_grad_(True)
    errors = []
    for w in attacked:
        model = with_weights(small, w)
        for _ in range(2):
            torch.rand(2 * len(square), generator=g)  # places of the crops
            flips, sigma = torch.rand(2, generator=g) < 0.5, 0.1 + 1.9 * torch.rand(2, generator=g)
            seen = torch.stack(
                [p.flip(-1) if flip else p for p, flip in zip(x, flips, strict=True)]
            )
            errors.append(error_of(model, blurred(seen, sigma), g))
    (theirs,) = torch.autograd.grad(torch.stack(errors).mean(), x)
    assert len(errors) == 4 and relative_error(steps[0].grads, theirs) < 1e-4


def test_metacloak_looks_ahead_but_its_pool_advances_step_by_step(
    small: LDM, square: Photos, attacked: list[Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fresh AdamW moves no weight by more than lr in its first step, so that steps can be read
    off."""
    kept: list[Weights] = []
    seen: list[tuple[int, Preprocessing]] = []
    keep, train = Pool.keep, Pool.train

    def keeping(self: Pool, m: int) -> None:
        keep(self, m)
        kept.append(self.moved[m])

    def training(
        self: Pool,
        m: int,
        x: Photos,
        cfg: Any,
        n: int,
        k: int,
        how: Preprocessing,
        rng: torch.Generator,
    ) -> None:
        seen.append((n, how))
        train(self, m, x, cfg, n, k, how, rng)

    monkeypatch.setattr(Pool, "keep", keeping)
    monkeypatch.setattr(Pool, "train", training)
    cfg = replace(PAPER, steps=2, M=1, K=3, surrogate_steps=0)
    run(metacloak, square, small, cfg=cfg)

    def way(a: Weights, b: Weights) -> float:
        return max((a[name] - b[name]).abs().max().item() for name in a) / 1e-3

    start = weights_of(small)
    assert way(kept[0], start) == pytest.approx(1, abs=0.1) and way(
        kept[1], kept[0]
    ) == pytest.approx(1, abs=0.1)
    assert way(attacked[0], start) > 1.3 and way(attacked[1], kept[0]) > 1.3, (
        "no look-ahead, or it was not taken back"
    )
    assert way(attacked[1], kept[0]) < 3.3
    assert seen == 2 * [(3, cfg.transform), (1, cfg.transform)]


def test_released_loop_returns_to_its_snapshots(
    small: LDM, square: Photos, attacked: list[Weights], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each trial begins with the same members; between two calls a member learns the protected
    photos, untransformed."""
    seen: list[Preprocessing] = []
    train = Pool.train

    def training(
        self: Pool,
        m: int,
        x: Photos,
        cfg: Any,
        n: int,
        k: int,
        how: Preprocessing,
        rng: torch.Generator,
    ) -> None:
        seen.extend(n * [how])
        train(self, m, x, cfg, n, k, how, rng)

    monkeypatch.setattr(Pool, "train", training)
    run(metacloak, square[:1], small, cfg=RELEASE)
    name = "unet.conv_in.weight"
    at = [w[name] for w in attacked]  # 2 trials x members of 0 and 1 steps x 2 calls
    assert (
        len(at) == 8
        and torch.equal(at[0], weights_of(small)[name])
        and not torch.equal(at[0], at[2])
    )
    assert torch.equal(at[0], at[4]) and torch.equal(at[2], at[6])
    assert not any(torch.equal(at[i], at[i + 1]) for i in (0, 2, 4, 6))
    assert seen == 8 * [CENTRE]


@pytest.mark.parametrize("cfg", [replace(PAPER, steps=4), RELEASE])
def test_metacloak_goes_on_after_an_interruption(
    cfg: Any, small: LDM, square: Photos, tmp_path: Path
) -> None:
    path, done = tmp_path / "s.safetensors", []

    def stop(label: str, now: int, total: int) -> None:
        if now == total - 2 and not label:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(
            metacloak,
            square[:1],
            small,
            cfg=cfg,
            state=RunState(path, progress=stop, checkpoint_seconds=0),
        )
    resumed = RunState(path, progress=lambda label, now, total: done.append(total - now))
    assert torch.equal(
        run(metacloak, square[:1], small, cfg=cfg, state=resumed)[0],
        run(metacloak, square[:1], small, cfg=cfg)[0],
    )
    assert done[0] == 2, "not where it was, in the midst of a member's calls"


@pytest.mark.parametrize("name", ["M", "B", "J", "advance"])
def test_metacloak_refuses_nothing_of_what_it_needs(name: str) -> None:
    with pytest.raises(UserError, match=f"{name} is 0"):
        metacloak.schedule(replace(PAPER, **{name: 0}))
