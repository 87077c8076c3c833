"""Gradients through purifiers, and the protections that take them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.spies import Step, relative_error

from cloakwork.errors import UserError
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import bpda, pgd
from cloakwork.photos.preprocessing import preprocess
from cloakwork.protections import adaptive, advdm, cloakwork
from cloakwork.purifiers import codesr, impress, jpeg, resize, tvm
from cloakwork.registry import settings
from cloakwork.state import RunState
from cloakwork.types import Photos


def generator(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def through(photos: Photos, word: str) -> Photos:
    (chain,) = bpda.chains(word)
    return bpda.through(photos, chain, {}, generator())


def run(module: Any, photos: Photos, small: LDM, cfg: Any) -> Photos:
    return module.protect(photos, [small], cfg, clean=None, rng=generator(), state=RunState())


@pytest.mark.parametrize(
    ("word", "most", "mean"),
    [
        ("blur", 0, 0),
        ("noise", 0, 0),
        ("tvm", 0, 0),
        ("resize", 3, 0.5),
        ("jpeg", 30, 2),
        ("jpeg_and_resize", 30, 2),
        ("post:width=100", 30, 2.5),
    ],
)
def test_the_form_with_a_gradient_does_what_the_purifier_does(
    word: str, most: float, mean: float, photos: Photos
) -> None:
    """Largest and mean difference, 1/255; rounding on the way for resize, another codec for
    jpeg."""
    (method,) = bpda.chains(word)[0]
    module, config = method.module, method.config
    hard, soft = (f(photos, None, config, rng=generator()) for f in (module.purify, module.smooth))
    for a, b in zip(hard, soft, strict=True):
        apart = (a - b).abs() * 255
        assert a.shape == b.shape and apart.max() <= most + 1e-3 and apart.mean() <= mean + 1e-3


def test_what_has_no_form_with_a_gradient_goes_straight_through(photos: Photos, small: LDM) -> None:
    """The result is the purifier's, the gradient the identity's; IMPRESS searches by gradients of
    its own."""
    leaf = photos[0][:, :128, :128].clone().requires_grad_(True)
    for word, known in (("jpeg:subsampling=4:4:4", {}), ("impress:steps=1", {"latent": small})):
        (method,) = bpda.chains(word)[0]
        (pure,) = method.module.purify([leaf.detach()], small, method.config, rng=generator())
        (x,) = bpda.through([leaf], (method,), known, generator())
        assert torch.allclose(x, pure, atol=1e-6) and not torch.allclose(x, leaf, atol=1e-3)
        (g,) = torch.autograd.grad((x * torch.arange(128.0)).sum(), leaf)
        assert torch.equal(g, torch.arange(128.0).expand_as(g))


def test_resize_has_the_gradient_of_a_linear_map(photos: Photos) -> None:
    """By its definition: the directional derivative along any direction, photos well inside the
    range."""
    x, way = 0.4 + 0.2 * photos[0], torch.randn(photos[0].shape, generator=generator())
    leaf = x.clone().requires_grad_(True)
    (g,) = torch.autograd.grad(
        through([leaf], "resize:scale=0.3,down=bicubic")[0].square().sum(), leaf
    )
    ends = [
        through([x + h * way], "resize:scale=0.3,down=bicubic")[0].double().square().sum()
        for h in (1e-3, -1e-3)
    ]
    assert (g * way).sum().item() == pytest.approx((ends[0] - ends[1]).item() / 2e-3, rel=1e-3)


def test_blur_has_the_gradient_of_a_gaussian(photos: Photos) -> None:
    """What a pixel of the result takes from each of the photo: a bell around it."""
    leaf = photos[0].clone().requires_grad_(True)
    (g,) = torch.autograd.grad(through([leaf], "blur:sigma=2")[0][1, 60, 70], leaf)
    y, x = torch.meshgrid(
        torch.arange(leaf.shape[1]) - 60, torch.arange(leaf.shape[2]) - 70, indexing="ij"
    )
    bell = torch.exp(-(x.square() + y.square()) / 8) * ((x.abs() <= 8) & (y.abs() <= 8))
    assert torch.allclose(g[1], bell / bell.sum(), atol=1e-6) and not g[0].any()


@pytest.mark.parametrize("word", ["quantise", "median", "bilateral_guided"])
def test_without_a_form_of_its_own_the_gradient_is_the_identitys(word: str, photos: Photos) -> None:
    leaf = photos[0].clone().requires_grad_(True)
    (seen,) = through([leaf], word)
    (method,) = bpda.chains(word)[0]
    (hard,) = method.module.purify([photos[0]], None, method.config, rng=generator())
    assert torch.allclose(seen.detach(), hard, atol=1e-6) and not torch.equal(hard, photos[0])
    way = torch.randn(leaf.shape, generator=generator())
    assert torch.equal(torch.autograd.grad(seen, leaf, way)[0], way)


@pytest.mark.parametrize("word", ["jpeg_and_resize", "post:width=100", ""])
def test_what_was_made_smaller_is_enlarged_again(word: str, photos: Photos) -> None:
    """So a square lies at the same place of the photo and of its original; without a form with a
    gradient too."""
    leaves = [(0.4 + 0.2 * p).requires_grad_(True) for p in photos]  # nothing is clipped
    method = (
        bpda.chains(word)[0][0]
        if word
        else SimpleNamespace(
            module=SimpleNamespace(purify=lambda photos, *_, rng: [p[:, ::2, ::2] for p in photos]),
            config=None,
            model_kind="",
        )
    )
    seen = bpda.through(leaves, (method,), {}, generator())
    assert [p.shape for p in seen] == [p.shape for p in photos]
    for grad in torch.autograd.grad([p.mean() for p in seen], leaves):
        # of a mean, whatever the size; JPEG's rounding has a quarter of the identity's on average
        assert grad.sum().item() == pytest.approx(0.25 if word else 1, abs=0.05)


def test_codesrs_stand_in_is_its_shrinking_and_enlarging(photos: Photos) -> None:
    ours = codesr.smooth(photos, None, codesr.Config(scale=0.25), rng=generator())
    theirs = resize.smooth(photos, None, resize.Config(scale=0.25), rng=generator())
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_tvm_goes_back_through_its_last_steps(photos: Photos) -> None:
    """With no variation the solution is the photo itself, and so is the gradient; with some it is
    spread out."""
    spread = []
    for weight in (0.0, 0.05):
        leaf = photos[0].clone().requires_grad_(True)
        (z,) = tvm.smooth([leaf], None, tvm.Config(weight=weight, drop=0), rng=generator())
        (g,) = torch.autograd.grad(z[0, 40, 40], leaf)
        spread.append((g[0, 40, 40] / g.abs().sum()).item())
    assert spread[0] == pytest.approx(1, abs=1e-5) and 0 < spread[1] < 0.9


def test_the_gradient_of_what_comes_after_goes_through_the_chain(photos: Photos) -> None:
    def inner(x: Photos, which: list[int]) -> tuple[float, Photos]:
        return pgd.by_autograd(lambda y, _: torch.stack([p.pow(3).mean() for p in y]).sum())(
            x, which
        )

    found = bpda.gradient(inner, bpda.chains("blur+resize:scale=0.4"), {}, generator())(
        photos, [0, 1, 2]
    )
    leaves = [p.clone().requires_grad_(True) for p in photos]
    value = torch.stack(
        [p.pow(3).mean() for p in through(through(leaves, "blur"), "resize:scale=0.4")]
    ).sum()
    assert found[0] == pytest.approx(value.item(), rel=1e-5)
    for a, b in zip(found[1], torch.autograd.grad(value, leaves), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-9)


def test_a_chain_is_drawn_for_every_step(photos: Photos) -> None:
    seen = set()

    def inner(x: Photos, which: list[int]) -> tuple[float, Photos]:
        seen.add(round(x[0].sum().item(), 3))
        return 0.0, [torch.ones_like(p) for p in x]

    gradient = bpda.gradient(inner, bpda.chains("none blur resize"), {}, generator())
    for _ in range(20):
        gradient(photos[:1], [0])
    assert len(seen) == 3


def test_adaptive_first_step(small: LDM, square: Photos, steps: list[Step]) -> None:
    """AdvDM's loss of the blurred photo, restated in plain torch."""
    run(
        adaptive,
        square,
        small,
        adaptive.Config(steps=1, random_start=False, purifiers="blur:sigma=2"),
    )
    g = steps[0].again()
    torch.randint(1, (), generator=g)  # the chain
    torch.rand(
        2 * len(square), generator=g
    )  # places of the crops; the photos are square, so they do not matter
    t = torch.randint(0, 1000, (len(square),), generator=g)
    x = torch.stack(steps[0].x).requires_grad_(True)
    radius = torch.arange(-8, 9, dtype=torch.float32)
    k = torch.exp(-radius.square() / 8)
    k = (k / k.sum()).expand(3, 1, 1, -1)
    padded = torch.nn.functional.pad(x, (8, 8, 8, 8), mode="replicate")
    blurred = torch.nn.functional.conv2d(
        torch.nn.functional.conv2d(padded, k, groups=3), k.mT, groups=3
    )
    z = small.vae.encode(2 * blurred - 1).latent_dist.mean * 0.18215
    eps = torch.randn(z.shape, generator=g)
    a = small.scheduler.alphas_cumprod[t][:, None, None, None]
    ids = small.tokenizer(
        "a photo", padding="max_length", max_length=77, return_tensors="pt"
    ).input_ids
    c = small.text_encoder(ids)[0].detach().repeat(len(x), 1, 1)
    e_hat = small.denoiser(a.sqrt() * z + (1 - a).sqrt() * eps, t, encoder_hidden_states=c).sample
    (theirs,) = torch.autograd.grad(torch.nn.functional.mse_loss(e_hat, eps), x)
    assert relative_error(steps[0].grads, theirs) < 1e-4


def test_what_knows_the_purifier_survives_it(photos: Photos, tiny: LDM) -> None:
    """Denoising error of photos after a purifier: AdvDM's gain is largely lost, the adaptive
    protection keeps more of its own."""
    word = "resize:scale=0.3"
    fields = {"budget": 16, "steps": 15, "step": None, "random_start": False}
    protected = {
        "advdm": run(advdm, photos, tiny, advdm.Config(**fields)),
        "adaptive": run(adaptive, photos, tiny, adaptive.Config(**fields, purifiers=word)),
        "clean": photos,
    }
    c, errors = tiny.embed(["a photo"]), {}
    for name, some in protected.items():
        g = generator(9)
        with torch.no_grad():
            z = tiny.encode(preprocess(through(some, word), tiny.size))
            errors[name] = torch.stack([tiny.latent_loss(z, c, g) for _ in range(16)]).mean().item()
    assert errors["adaptive"] - errors["clean"] > 1.2 * (errors["advdm"] - errors["clean"])


def test_ours_looks_through_purifiers_when_asked_to(photos: Photos, small: LDM) -> None:
    short = replace(
        cloakwork.TINY, steps=2, outer=1, clean_steps=1, adv_steps=1, pgd_steps=2, class_images=2
    )
    plain, adaptive = (
        run(cloakwork, photos[:1], small, replace(short, purifiers=p)) for p in ("", "blur")
    )
    assert not torch.equal(plain[0], adaptive[0])
    assert "purifiers" not in settings(short), (
        "what was computed before the field was there keeps its name"
    )


def test_a_denoiser_of_pixels_is_part_of_what_decides() -> None:
    assert adaptive.instrument(adaptive.Config(purifiers="jpeg")) == ""
    assert (
        adaptive.instrument(adaptive.Config(purifiers="jpeg impress"))
        == f"impress {impress.VERSION}"
    ), "another way through"
    assert len(adaptive.instrument(adaptive.Config(purifiers="jpeg diffpure"))) == 12


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "No purifier was named"),
        ("jpg", "did you mean 'jpeg'"),
        ("jpeg:quality=0", "quality"),
        ("jpeg:qality=3", "did you mean 'quality'"),
    ],
)
def test_mistakes(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        adaptive.Config(purifiers=text)


def test_jpeg_keeps_odd_sizes(photos: Photos) -> None:
    odd = [photos[0][:, :75, :53]]
    assert jpeg.smooth(odd, None, jpeg.Config(quality=60), rng=generator())[0].shape == (3, 75, 53)
