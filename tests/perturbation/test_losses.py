"""One encoder backward for every loss on latents; targets; counting without computing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import DDPMScheduler
from PIL import Image

from cloakwork import registry
from cloakwork.errors import UserError
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import graph_memory, losses, pgd, targets
from cloakwork.types import Photos
from cloakwork.workflows import dry_run


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def error(ldm: LDM, rng: torch.Generator) -> losses.LatentLoss:
    return losses.denoising(ldm, ldm.embed(["a photo"]), rng)


@pytest.fixture
def encodings(small: LDM, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Collects whether each call of the encoder has a graph."""
    seen: list[bool] = []
    encode = small.vae.encode
    monkeypatch.setattr(
        small.vae, "encode", lambda x: (seen.append(torch.is_grad_enabled()), encode(x))[1]
    )
    return seen


KEPT, SPLIT = [True], [False, True]  # calls of the encoder for a gradient


@pytest.mark.parametrize(
    ("free", "low_memory", "calls"),
    [(10**12, False, KEPT), (10**12, True, SPLIT), (1, False, SPLIT)],
)
def test_splits_where_two_graphs_have_no_room(
    free: int,
    low_memory: bool,
    calls: list[bool],
    small: LDM,
    photos: Photos,
    encodings: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graph_memory, "free_memory", lambda device: free)
    ldm, rng = replace(small, low_memory=low_memory), seeded()
    losses.gradient(ldm, error(ldm, rng), rng)(photos[:1], [0])
    assert encodings == calls


def test_encodes_once_for_a_loss_without_a_graph(
    small: LDM, photos: Photos, encodings: list[bool]
) -> None:
    ldm, rng, c = replace(small, low_memory=True), seeded(), small.embed(["a photo"])
    near = losses.target_distance(torch.zeros(1, 4, 16, 16))
    for loss in (near, losses.weighted((5, losses.distillation(ldm, c, rng)), (1, near))):
        encodings.clear()
        losses.gradient(ldm, loss, rng)(photos[:1], [0])
        assert encodings == KEPT


@pytest.mark.parametrize("posterior", [False, True])
@pytest.mark.parametrize("size", [128, 192])
def test_split_changes_no_byte(posterior: bool, size: int, small: LDM, photos: Photos) -> None:
    ldm = replace(small, sample_posterior=posterior, size=size)
    both = []
    for split in (False, True):
        rng = seeded()
        both.append(losses.gradient(ldm, error(ldm, rng), rng, split=split)(photos, [0, 1, 2]))
    assert both[0][0] == both[1][0]
    assert all(torch.equal(a, b) for a, b in zip(both[0][1], both[1][1], strict=True))


def test_split_never_holds_both_graphs(small: LDM, photos: Photos) -> None:
    """While the term is at work, nothing of the encoder's graph may be alive."""
    seen = []

    def term(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(
            sum(
                isinstance(t, torch.Tensor) and t.grad_fn is not None and t.ndim == 4
                for t in encoded
            )
        )
        return z.sum(), torch.ones_like(z)

    encoded: list[torch.Tensor] = []
    hook = small.vae.encoder.register_forward_hook(lambda module, given, out: encoded.append(out))
    try:
        for split in (True, False):
            encoded.clear()
            loss = losses.LatentLoss(term, graph=True)
            losses.gradient(small, loss, seeded(), split=split)(photos[:1], [0])
    finally:
        hook.remove()
    assert seen == [0, 1]


def test_is_the_gradient_of_the_loss_written_out(small: LDM, photos: Photos) -> None:
    from cloakwork.photos.preprocessing import SLIDE, preprocess

    def loss(x: Photos, which: list[int]) -> torch.Tensor:
        return small.loss(preprocess(x, small.size, SLIDE, rng), small.embed(["a photo"]), rng)

    rng = seeded()
    value, theirs = pgd.by_autograd(loss)(photos, [0, 1, 2])
    rng = seeded()
    ours_value, ours = losses.gradient(small, error(small, rng), rng)(photos, [0, 1, 2])
    assert float(ours_value) == pytest.approx(float(value), rel=1e-6)
    assert all((a - b).norm() / b.norm() < 1e-5 for a, b in zip(ours, theirs, strict=True))


def test_weights_add_up_and_nought_costs_nothing(small: LDM) -> None:
    z = torch.randn(2, 4, 16, 16, generator=seeded())
    square = losses.from_scalar(lambda z: z.square().sum())

    def fails(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raise AssertionError

    never = losses.LatentLoss(fails, graph=True)
    near = losses.target_distance(torch.zeros(1, 4, 16, 16))
    assert not losses.weighted((-1, near), (0, never)).graph, "what costs nothing has no graph"
    value, g = losses.weighted((3, square), (-1, near), (0, never))(z)
    assert value.item() == pytest.approx((3 + 0.5) * z.square().sum().item(), rel=1e-5)
    assert torch.allclose(g, 6 * z + z)


def test_balanced_terms_have_their_weights_for_length_whatever_their_unit(small: LDM) -> None:
    z = torch.randn(2, 4, 16, 16, generator=seeded())
    great, none = (
        losses.from_scalar(lambda z: 1e6 * z.square().sum()),
        losses.from_scalar(lambda z: 0 * z.sum()),
    )
    _, g = losses.balanced((3, great), (1, none))(z)
    assert torch.allclose(g, 3 * z / z.flatten(1).norm(dim=1)[:, None, None, None])


def test_unlikeness_of_large_pictures_is_taken_one_by_one(
    small: LDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    z, view = (
        torch.randn(3, 4, 16, 16, generator=seeded()),
        torch.rand(3, 3, 128, 128, generator=seeded()),
    )
    value, g = losses.reconstruction_lpips(small, view)(z)
    monkeypatch.setattr(losses, "SMALL_PICTURE", 64)
    sizes, decode = [], small.vae.decode
    monkeypatch.setattr(small.vae, "decode", lambda z: (sizes.append(len(z)), decode(z))[1])
    alone, each = losses.reconstruction_lpips(small, view)(z)
    assert sizes == [1, 1, 1] and alone.item() == pytest.approx(value.item(), rel=1e-5)
    assert (each - g).norm() / g.norm() < 1e-4


def test_noise_is_the_same_thing_to_every_kind_of_model(small: LDM) -> None:
    """A model that predicts v is given what it must say for the noise to come out."""
    z, noise, t = torch.randn(2, 4, 16, 16), torch.randn(2, 4, 16, 16), torch.tensor([10, 700])
    for kind in ("epsilon", "v_prediction"):
        ldm = replace(
            small, scheduler=DDPMScheduler.from_config(small.scheduler.config, prediction_type=kind)
        )
        z_t, target = ldm.diffuse(z, noise, t)
        ldm.predict = lambda z_t, t, c, target=target: target  # type: ignore[method-assign]
        assert torch.allclose(ldm.predict_noise(z_t, t, torch.zeros(1, 1, 1)), noise, atol=1e-5)


def test_targets(tiny: LDM, tmp_path: Path) -> None:
    z = {name: targets.latent(tiny, name) for name in targets.BUILT_IN}
    assert all(v.shape == (1, 4, 16, 16) for v in z.values()) and not z["zero"].any()
    assert (z["pattern"] - z["grey"]).norm() > z["grey"].norm()
    assert set(targets.pattern(64).unique().tolist()) <= {0.0, 0.5, 1.0}
    Image.new("RGB", (300, 90), (200, 30, 30)).save(
        tmp_path / "red.png"
    )  # of another size and shape
    assert targets.latent(tiny, str(tmp_path / "red.png")).shape == (1, 4, 16, 16)
    mist = registry.load("protections", "mist")
    config = mist.Config(target=str(tmp_path / "red.png"))
    before = targets.digest(config)
    Image.new("RGB", (300, 90), (30, 30, 200)).save(tmp_path / "red.png")
    assert before and targets.digest(config) != before and targets.digest(mist.Config()) == ""
    with pytest.raises(UserError, match="no target 'red'; give zero, grey, pattern or the path"):
        targets.latent(tiny, "red")


# calls per 100 PGD steps: what is left of Diff-Protect's loops when nothing is computed twice
LEAN = {
    "advdm": (100, 100, 100, 100),
    "sds": (100, 100, 100, 0),
    "sdst": (101, 100, 100, 0),  # one encoding of the target
    "mist": (101, 100, 100, 100),
}


@pytest.mark.parametrize("name", LEAN)
def test_counts_of_the_papers_presets(name: str) -> None:
    module = registry.load("protections", name)
    c = dry_run.count(module, module.PRESETS["paper"])
    assert (c.vae_encode, c.vae_encode_backward, c.unet, c.unet_backward) == LEAN[name]
    assert c.pgd_steps == 100 and c.training_steps == 0


@pytest.mark.parametrize("name", [name for name, _ in registry.listing("protections")])
def test_every_laptop_preset_can_be_counted(name: str) -> None:
    """On parts that have all that a method may reach for: LoRA layers, cross-attention,
    features."""
    module = registry.load("protections", name)
    short = {"steps": 3, "outer": 1, "surrogate_steps": 4}
    for preset, config in module.PRESETS.items():
        if preset.startswith("tiny"):
            lean = replace(config, **{k: v for k, v in short.items() if hasattr(config, k)})
            counts = dry_run.count(module, lean, photos=2)
            assert counts.pgd_steps > 0 or not getattr(module, "USES_SURROGATES", True)


def test_counts_go_with_photos_and_surrogates() -> None:
    module = registry.load("protections", "sds")
    config = module.Config(steps=3)
    assert (
        dry_run.count(module, config, photos=pgd.MICRO_BATCH + 1).unet == 6
    )  # two micro-batches a step
    assert dry_run.count(module, config, surrogates=2).unet == 6


def test_a_dry_run_counts_what_the_real_run_does(
    small: LDM, photos: Photos, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOAKWORK_CACHE", str(tmp_path))  # class pictures are drawn, not found
    from cloakwork.state import RunState

    module = registry.load("protections", "aspl")
    turns = {"outer": 2, "clean_steps": 2, "pgd_steps": 2, "adv_steps": 1}
    config = replace(module.PRESETS["tiny"], class_images=3, **turns)
    calls = {"unet": 0, "encode": 0}

    def seen(name: str) -> None:
        calls[name] += 1

    hooks = [
        small.denoiser.register_forward_hook(lambda *_: seen("unet")),
        small.vae.encoder.register_forward_hook(lambda *_: seen("encode")),
    ]
    try:
        module.protect(photos, [small], config, clean=None, rng=seeded(), state=RunState())
    finally:
        for hook in hooks:
            hook.remove()
    counts = dry_run.count(module, config, photos=len(photos))
    assert calls["encode"] == counts.vae_encode
    assert counts.pgd_steps == 4 and counts.training_steps == 6
    assert calls["unet"] == counts.unet
