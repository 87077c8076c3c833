"""What every purifier must keep, and what each of those without a model does, against independent
statements of it."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.purification import beside, run
from kornia.filters import gaussian_blur2d
from PIL import Image

from cloakwork import cli, registry, specs
from cloakwork.errors import UserError
from cloakwork.metrics import linf, lpips, psnr
from cloakwork.models import cleaner, pixel_ddpm
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import bpda
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.tensors import to_bytes
from cloakwork.purifiers import (
    bilateral_guided,
    blur,
    impress,
    jpeg,
    jpeg_and_resize,
    learned,
    median,
    noise,
    post,
    quantise,
    resize,
    tvm,
)
from cloakwork.types import Photos
from cloakwork.workflows.images import protect_images
from cloakwork.workflows.protect import protect
from cloakwork.workflows.purify import purify

NAMES = [name for name, _ in registry.listing("purifiers")]
# what a purifier may take from a clean photo (LPIPS, mean of the three samples); more is a defect
HARM = {
    "none": 0.0,
    "quantise": 0.004,
    "jpeg": 0.03,
    "bilateral_guided": 0.03,
    "tvm": 0.05,
    "median": 0.1,
    "noise": 0.12,
    "resize": 0.2,
    "blur": 0.4,
    "impress": 0.12,
    "latent_diffpure": 0.3,
    "codesr": 0.25,
    "diffpure": 0.1,
    "gridpure": 0.06,
    "post": 0.03,
    "jpeg_and_resize": 0.03,
    "learned": 0.03,
    "subtract": 0.0,
}
NOTHING = ("none", "subtract")  # what leaves clean photos as they are


@pytest.mark.parametrize("name", NAMES)
def test_photos_keep_their_sizes_and_range(name: str, photos: Photos) -> None:
    odd = torch.rand(3, 129, 150, generator=torch.Generator().manual_seed(0))
    given = [*photos, odd, torch.zeros(3, 128, 128)]
    before = [p.clone() for p in given]
    got = run(name, given)
    small = getattr(registry.load("purifiers", name), "SHRINKS", False)
    for before_it, after_it in zip(given, got, strict=True):
        assert after_it.shape == before_it.shape or (small and after_it.numel() < before_it.numel())
    assert all(p.dtype == torch.float32 and p.min() >= 0 and p.max() <= 1 for p in got)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True)), (
        "the photos it was given were written to"
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_photos(name: str, photos: Photos) -> None:
    once, again = (run(name, photos[:1]) for _ in range(2))
    assert torch.equal(once[0], again[0])


@pytest.mark.parametrize("name", NAMES)
def test_clean_photos_lose_no_more_than_stated(name: str, photos: Photos) -> None:
    pure = run(name, photos)
    lost = lpips.score(pure, beside(pure, photos), None, lpips.Config()).mean().item()
    assert lost <= HARM[name]
    assert (lost > 0) == (name not in NOTHING)


def test_what_a_platform_gives_back_is_narrow_and_compressed(photos: Photos) -> None:
    wide = F.interpolate(photos[0][None], (300, 1200), mode="bicubic")[0].clamp(0, 1)
    (got,) = post.purify([wide], None, post.Config(), rng=torch.Generator())
    small = Image.fromarray(to_bytes(wide).permute(1, 2, 0).numpy()).resize(
        (1080, 270), Image.Resampling.LANCZOS
    )
    file = io.BytesIO()
    small.save(file, "JPEG", quality=75)
    assert torch.equal(to_bytes(got), torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1))
    (tall,) = post.purify([wide.mT], None, post.Config(), rng=torch.Generator())
    assert tall.shape == wide.mT.shape, "1200 px high, and narrow enough"


def test_jpeg_and_resize_halves_what_was_compressed(photos: Photos) -> None:
    rng, cfg = torch.Generator(), jpeg_and_resize.Config()
    (got,) = jpeg_and_resize.purify(photos[:1], None, cfg, rng=rng)
    (again,) = resize.purify(
        jpeg.purify(photos[:1], None, jpeg.Config(), rng=rng), None, resize.Config(), rng=rng
    )
    height, width = photos[0].shape[-2:]
    assert got.shape == (3, height // 2, width // 2)
    up = Image.fromarray(to_bytes(got).permute(1, 2, 0).numpy()).resize(
        (width, height), Image.Resampling.LANCZOS
    )
    assert torch.equal(to_bytes(again), torch.from_numpy(np.array(up)).permute(2, 0, 1))


def test_a_photo_that_comes_back_smaller_is_compared_at_that_size(
    sample_files: list[Path], tmp_path: Path
) -> None:
    see_through = Image.open(sample_files[0]).convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize(see_through.size))
    see_through.save(tmp_path / "a.png")
    protect(tmp_path / "a.png", tmp_path / "safe", protection="noise", budget=8)
    (row,) = purify(tmp_path / "safe", tmp_path / "out", purifiers="jpeg_and_resize")
    with Image.open(row.output) as got:
        assert (got.mode, got.size) == ("RGBA", (see_through.width // 2, see_through.height // 2))
    assert row.lpips_after is not None
    assert row.lpips_clean is not None
    assert 0 < row.lpips_clean < row.lpips_after


def test_jpeg_is_the_codec_that_others_use(photos: Photos, tmp_path: Any) -> None:
    pixels = photos[0].mul(255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=60, subsampling=2)
    theirs = torch.from_numpy(np.array(Image.open(tmp_path / "a.jpg"))).permute(2, 0, 1) / 255
    assert torch.equal(
        jpeg.purify(photos[:1], None, jpeg.Config(quality=60), rng=torch.Generator())[0], theirs
    )


def test_jpeg_loses_more_at_lower_quality(photos: Photos) -> None:
    lost = [
        linf.score(run("jpeg", photos, quality=q), photos, None, linf.Config()).mean()
        for q in (95, 75, 30)
    ]
    assert lost[0] < lost[1] < lost[2]


def test_resize_passes_through_the_small_size(photos: Photos) -> None:
    """A checkerboard of single pixels is gone at half the size; blocks of 16 px stay."""
    at = torch.arange(128)
    fine, coarse = (
        (((at[:, None] // n) + (at[None] // n)) % 2).float().expand(3, -1, -1) for n in (1, 16)
    )
    got = resize.purify([fine, coarse], None, resize.Config(scale=0.5), rng=torch.Generator())
    assert (got[0] - 0.5)[:, 4:-4, 4:-4].abs().max() < 0.01
    assert (got[1] - coarse).abs().mean() < 0.06
    same = resize.purify(photos, None, resize.Config(scale=1), rng=torch.Generator())
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(same, photos, strict=True))


def test_blur_is_a_gaussian_with_that_sigma(photos: Photos) -> None:
    (ours,) = blur.purify(photos[:1], None, blur.Config(sigma=2, kernel=9), rng=torch.Generator())
    (theirs,) = gaussian_blur2d(photos[0][None], 9, (2.0, 2.0), border_type="replicate")
    assert torch.allclose(ours, theirs, atol=1e-5)
    point = torch.zeros(3, 101, 101)
    point[:, 50, 50] = 1
    (spread,) = blur.purify([point], None, blur.Config(sigma=5), rng=torch.Generator())
    away = (torch.arange(101.0) - 50) ** 2
    assert (spread[0].sum(0) * away).sum().sqrt() == pytest.approx(
        5, rel=0.01
    )  # the standard deviation, not the width


def test_noise_is_as_loud_as_said() -> None:
    grey = torch.full((3, 200, 200), 0.5)
    (got,) = noise.purify(
        [grey], None, noise.Config(sigma=0.05), rng=torch.Generator().manual_seed(1)
    )
    assert (got - grey).std().item() == pytest.approx(0.05, rel=0.02)
    assert abs((got - grey).mean().item()) < 1e-3


def test_median_is_the_median(photos: Photos) -> None:
    (got,) = median.purify(photos[:1], None, median.Config(kernel=5), rng=torch.Generator())
    around = photos[0].unfold(1, 5, 1).unfold(2, 5, 1).flatten(3)
    assert torch.allclose(got[:, 2:-2, 2:-2], around.median(-1).values, atol=1e-6)


def test_quantise_has_so_many_levels(photos: Photos) -> None:
    got = quantise.purify(photos, None, quantise.Config(bits=3), rng=torch.Generator())
    assert all(len(p.unique()) <= 8 for p in got)
    assert all((a - b).abs().max() <= 0.5 / 7 + 1e-6 for a, b in zip(got, photos, strict=True))


def test_tvm_finds_the_minimum_that_can_be_written_down() -> None:
    """Two flat halves draw together: by 2 weight / (width sqrt 3), where all three colours step
    alike."""
    x = torch.full((3, 12, 16), 0.2)
    x[:, :, 8:] = 0.8
    z = tvm.smoothest(x, torch.ones(12, 16), tvm.Config(weight=0.5, steps=4000))
    s = 2 * 0.5 / (16 * 3**0.5)
    assert torch.allclose(z[:, :, :8], torch.full((3, 12, 8), 0.2 + s), atol=1e-4)
    assert torch.allclose(z[:, :, 8:], torch.full((3, 12, 8), 0.8 - s), atol=1e-4)


def objective(z: torch.Tensor, x: torch.Tensor, kept: torch.Tensor, weight: float) -> float:
    down, right = torch.zeros_like(z), torch.zeros_like(z)
    down[:, :-1], right[:, :, :-1] = z.diff(dim=1), z.diff(dim=2)
    variation = (down**2 + right**2).sum(0).sqrt().sum()
    return (0.5 * (kept * (z - x) ** 2).sum() + weight * variation).item()


def test_tvm_is_nearly_there_after_its_default_steps(photos: Photos) -> None:
    x, kept = (
        photos[2],
        (torch.rand(128, 128, generator=torch.Generator().manual_seed(2)) > 0.02).float(),
    )
    cfg = tvm.Config()
    best = objective(tvm.smoothest(x, kept, tvm.Config(steps=2000)), x, kept, cfg.weight)
    assert (
        best
        <= objective(tvm.smoothest(x, kept, cfg), x, kept, cfg.weight)
        < 1.01 * best
        < objective(x, x, kept, cfg.weight)
    )


def test_tvm_fills_dropped_pixels_from_those_around() -> None:
    grey, kept = torch.full((3, 20, 20), 0.5), torch.ones(20, 20)
    grey[:, 7, 9], kept[7, 9] = 1.0, 0.0
    assert (tvm.smoothest(grey, kept, tvm.Config(weight=0.01, steps=2000)) - 0.5).abs().max() < 0.01


def test_tvm_has_a_gradient_where_nothing_varies() -> None:
    flat = torch.full((3, 24, 30), 0.5, requires_grad=True)
    (found,) = tvm.smooth([flat], None, tvm.Config(), rng=torch.Generator().manual_seed(0))
    (g,) = torch.autograd.grad(found.square().sum(), flat)
    assert torch.isfinite(g).all() and g.abs().sum() > 0


def test_bilateral_filter_against_its_definition() -> None:
    y = torch.rand(3, 9, 11, generator=torch.Generator().manual_seed(5)) * 60
    cfg, want = bilateral_guided.Config(), torch.zeros_like(y)
    disc = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if i * i + j * j <= 4]
    for r in range(9):
        for c in range(11):
            near = [
                (r + i, c + j, i * i + j * j) for i, j in disc if 0 <= r + i < 9 and 0 <= c + j < 11
            ]
            weights = torch.stack(
                [
                    torch.exp(
                        -((y[:, a, b] - y[:, r, c]).abs().sum() ** 2) / (2 * 8**2) - d / (2 * 8**2)
                    )
                    for a, b, d in near
                ]
            )
            want[:, r, c] = (torch.stack([y[:, a, b] for a, b, _ in near]) * weights[:, None]).sum(
                0
            ) / weights.sum()
    assert torch.allclose(bilateral_guided.bilateral(y, cfg), want, atol=1e-4)


def test_guided_filter_is_least_squares_in_every_square() -> None:
    g = torch.Generator().manual_seed(6)
    x, y = torch.rand(3, 7, 8, generator=g) * 255, torch.rand(3, 7, 8, generator=g) * 255
    cfg = bilateral_guided.Config(guided_steps=1, guided_radius=1, eps=20)
    squares = {}
    for r in range(7):
        for c in range(8):
            here = [
                (a, b)
                for a in range(r - 1, r + 2)
                for b in range(c - 1, c + 2)
                if 0 <= a < 7 and 0 <= b < 8
            ]
            guide, goal = (torch.stack([v[:, a, b] for a, b in here]).double() for v in (x, y))
            ones = torch.ones(len(here), 1, dtype=torch.double)
            ridge = len(here) * torch.diag(torch.tensor([20.0, 20, 20, 0], dtype=torch.double))
            full = torch.cat([guide, ones], 1)
            squares[r, c] = torch.linalg.solve(full.mT @ full + ridge, full.mT @ goal), here
    want = torch.zeros(3, 7, 8, dtype=torch.double)
    for (r, c), (_, here) in squares.items():
        fit = torch.stack([squares[at][0] for at in here]).mean(0)
        want[:, r, c] = torch.cat([x[:, r, c].double(), torch.ones(1, dtype=torch.double)]) @ fit
    assert torch.allclose(bilateral_guided.guided(x, y, cfg).double(), want, atol=0.02)


@pytest.mark.parametrize(
    ("weights", "protection"), [("", "pid:tiny:steps=20"), ("lasting", "pid:lasting:steps=20")]
)
def test_each_network_of_the_package_takes_off_what_it_learned_from(
    weights: str, protection: str, photos: Photos
) -> None:
    clean = photos[0]
    (protected,) = protect_images([clean], protection)
    (purified,) = learned.purify([protected], None, learned.Config(weights), rng=torch.Generator())
    before, after = ((x - clean).square().mean() for x in (protected, purified))
    assert after < 0.95 * before
    told = json.loads((cleaner.EMBEDDED[weights] / "config.json").read_text(encoding="utf-8"))
    assert protection.startswith(told["protection"])


def test_cleaners_smooth_noise_and_keep_edges() -> None:
    g, edge = torch.Generator().manual_seed(0), torch.full((3, 40, 40), 0.2)
    edge[:, :, 20:] = 0.8
    noisy = (edge + 0.02 * torch.randn(edge.shape, generator=g)).clamp(0, 1)
    for name in ("tvm", "bilateral_guided"):
        (got,) = run(name, [noisy])
        assert (got - edge).square().mean() < 0.5 * (noisy - edge).square().mean()


def test_impress_finds_photos_that_the_autoencoder_gives_back(photos: Photos, tiny: LDM) -> None:
    def inconsistency(some: Photos) -> float:
        x = preprocess(some, tiny.size)
        with torch.no_grad():
            return (tiny.decode(tiny.encode(x)) - x).square().mean().item()

    square = [p[:, :128, :128] for p in photos[:1]]
    found = run("impress", square, steps=12, noise=0.02)
    assert inconsistency(found) < 0.6 * inconsistency(square)
    strict = run("impress", square, steps=12, noise=0.02, alpha=100.0, eps=0.0)
    lost = [lpips.score(x, square, None, lpips.Config()).mean() for x in (strict, found)]
    assert lost[0] < lost[1], "the perceptual distance holds nothing back"


@pytest.mark.parametrize("name", ["impress", "latent_diffpure"])
def test_autoencoders_see_pictures_in_range(
    name: str, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photos with black and white in them, from which every step and all noise lead out of it."""
    seen, encode = [], LDM.encode

    def spy(self: LDM, x: torch.Tensor, *rest: Any) -> torch.Tensor:
        seen.append((x.min().item(), x.max().item()))
        return encode(self, x, *rest)

    monkeypatch.setattr(LDM, "encode", spy)
    hard = [(p[:, :128, :128] > 0.5).float() for p in photos[:1]]
    run(name, hard)
    assert seen and all(low >= 0 and high <= 1 for low, high in seen)
    assert seen[0] == pytest.approx((0, 1), abs=1e-6)


def test_impress_needs_no_draws_of_the_posterior(photos: Photos, small: LDM) -> None:
    square, cfg = preprocess(photos[:1], small.size), replace(impress.PRESETS["tiny"], steps=1)
    drawing = replace(small, sample_posterior=True)
    assert torch.equal(
        *(impress.consistent(square, square, model, cfg) for model in (small, drawing))
    )


def test_latent_diffpure_is_an_edit_by_ddim_that_asks_for_no_change(
    photos: Photos, tiny: LDM
) -> None:
    """Step by step, on a photo that is one window: the last 3 of 10 steps under the prompt, away
    from the negative one."""
    x, n = preprocess(photos[:1], tiny.size), 10
    (got,) = run(
        "latent_diffpure",
        list(x),
        seed=5,
        steps=n,
        strength=0.3,
        guidance=4,
        prompt="a face",
        negative="a wall",
    )
    side, a, between = (
        tiny.size // tiny.scale,
        tiny.scheduler.alphas_cumprod,
        tiny.scheduler.config.num_train_timesteps // n,
    )
    eps = torch.randn(
        tiny.vae.config.latent_channels, side, side, generator=torch.Generator().manual_seed(5)
    )
    times = [between * i + tiny.scheduler.config.steps_offset for i in (2, 1, 0)]
    with torch.no_grad():
        z = tiny.encode(x)
        z = a[times[0]].sqrt() * z + (1 - a[times[0]]).sqrt() * eps
        for t in times:
            held, free = (
                tiny.as_noise(
                    tiny.predict(z, torch.tensor(t), tiny.embed([p])), z, torch.tensor([t])
                )
                for p in ("a face", "a wall")
            )
            e = free + 4 * (held - free)
            z_0 = (z - (1 - a[t]).sqrt() * e) / a[t].sqrt()
            final = (
                tiny.scheduler.final_alpha_cumprod
                if hasattr(tiny.scheduler, "final_alpha_cumprod")
                else torch.ones(())
            )
            earlier = a[t - between] if t >= between else final
            z = earlier.sqrt() * z_0 + (1 - earlier).sqrt() * e
        want = tiny.decode(z)[0]
    assert torch.allclose(got, want, atol=2e-3)


def test_latent_diffpure_img2img_asks_as_its_paper_does(
    photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What diffusers' pipeline does unasked: of 50 steps the last 15 %, at guidance 7.5."""
    asked, gone, embed, denoise = [], [], LDM.embed, LDM.denoise

    def told(self: LDM, prompts: list[str]) -> Any:
        asked.extend(prompts)
        return embed(self, prompts)

    def counted(self: LDM, *given: Any, **how: Any) -> torch.Tensor:
        gone.append((len(given[4]), how["guidance"]))
        return denoise(self, *given, **how)

    monkeypatch.setattr(LDM, "embed", told)
    monkeypatch.setattr(LDM, "denoise", counted)
    preset = specs.parse("purifiers", "latent_diffpure:img2img").config
    (square,) = preprocess(photos[:1], 128)
    (got,) = run("latent_diffpure", [square], **vars(preset))
    assert preset.strength == 0.15 and asked[0] == "Denoise the image"
    assert gone == [(7, 7.5)]
    assert not torch.equal(got, square) and psnr.score([got], [square], None, psnr.Config()) > 15


def test_latent_diffpure_paints_more_the_more_noise(photos: Photos) -> None:
    lost = [
        lpips.score(
            run("latent_diffpure", photos[:1], strength=s), photos[:1], None, lpips.Config()
        ).mean()
        for s in (0.1, 0.6)
    ]
    assert lost[0] < lost[1]


def test_the_embedded_denoiser_denoises(photos: Photos) -> None:
    """Normal noise of 25/255 on photos it has never seen: nearer to the photo than the best blur of
    it."""
    model, g, sigma = pixel_ddpm.load("tiny", "cpu"), torch.Generator().manual_seed(0), 25 / 255
    clean = torch.stack([p[:, i : i + 64, i : i + 64] for p in photos for i in (0, 32, 64)])
    noisy = clean + sigma * torch.randn(clean.shape, generator=g)
    a = model.scheduler.alphas_cumprod
    t = int(((1 - a) / a - (2 * sigma) ** 2).abs().argmin())
    x_t = a[t].sqrt() * (2 * noisy - 1)
    guess = ((x_t - (1 - a[t]).sqrt() * model.predict(x_t, t)) / a[t].sqrt()) / 2 + 0.5

    def error(x: torch.Tensor) -> float:
        return (x.clamp(0, 1) - clean).square().mean().item()

    blurred = min(error(gaussian_blur2d(noisy, 13, (w, w))) for w in (0.5, 0.7, 0.9, 1.1, 1.4))
    assert error(guess) < 0.6 * blurred


@pytest.mark.parametrize(("name", "t"), [("diffpure", 30), ("gridpure", 20)])
def test_diffusion_takes_noise_away(name: str, t: int, photos: Photos) -> None:
    g = torch.Generator().manual_seed(0)
    noisy = [
        (p + 11 / 255 * (torch.randint(0, 2, p.shape, generator=g) * 2 - 1)).clamp(0, 1)
        for p in photos
    ]
    got = run(name, noisy, t=t)
    off = [
        sum((a - b).square().mean().item() for a, b in zip(x, photos, strict=True))
        for x in (got, noisy)
    ]
    assert off[0] < 0.7 * off[1]


@pytest.mark.parametrize("name", [name for name in NAMES if registry.model_kind(name)])
def test_a_photo_smaller_than_the_model_is_refused(name: str) -> None:
    with pytest.raises(
        UserError, match=r"A photo is 60 x 200 px, smaller than the window of \d+ px"
    ):
        run(name, [torch.rand(3, 200, 60)])


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("jpeg:quality=0", "jpeg: The field quality is 0; allowed are 1 to 100."),
        ("jpeg+resize:scale=2", "resize: The field scale is 2.0; allowed are 0.001 to 1."),
        (
            "blur:kernel=4",
            "blur: The kernel 4 has no middle; give an odd number of pixels, "
            "or 0 for as many as needed.",
        ),
        ("median:kernel=2", "median: The kernel 2 has no middle; give an odd number of pixels."),
        (
            "tvm:steps=0,weight=-1",
            "tvm: The field weight is -1.0; allowed are 0 to 100.\n"
            "tvm: The field steps is 0; allowed are 1 to 100000.",
        ),
        ("jpeg:quality=x", "The field quality of jpeg is 'x'. Allowed: a whole number."),
        (
            "resize:down=lanczoss",
            "The field down of resize is 'lanczoss'. Allowed: nearest or box or",
        ),
        (
            "jpeg:qualty=9,subsampling=x",
            "There is no field of jpeg 'qualty'; did you mean 'quality'? "
            "Known: quality, subsampling."
            "\nThe field subsampling of jpeg is 'x'. Allowed: 4:4:4 or",
        ),
        (
            "diffpure:t=10,steps=5,range=z",
            "The field range of diffpure is 'z'. Allowed: model or released.",
        ),
        (
            "diffpure:t=10",
            "diffpure: t is 10 and steps 12; allowed are 1 to 1000 for t, "
            "and 0 (all) to t for steps.",
        ),
        (
            "latent_diffpure:guidance=nan",
            "latent_diffpure: The field guidance is nan; allowed are 0 to 100.",
        ),
        ("jpeg++resize", "There is no purifier ''."),
        ("jpeg+jpg", "There is no purifier 'jpg'; did you mean 'jpeg'?"),
    ],
)
def test_mistakes_get_one_clear_sentence(word: str, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        specs.purifiers(word)
    assert str(error.value).startswith(sentence)


def test_values_may_hold_what_parts_words() -> None:
    text = 'latent_diffpure:prompt="a face, clear + sharp",steps=30+jpeg'
    first, other = specs.purifiers(text)
    assert (first.name, other.name) == ("latent_diffpure", "jpeg")
    assert (first.config.prompt, first.config.steps) == ("a face, clear + sharp", 30)
    assert specs.purifiers(specs.word(first)) == (first,)
    assert bpda.chains(f"{text}  tvm")[0] == (first, other)


def test_a_mistake_in_the_command_writes_nothing(
    sample_files: list[Any], tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.main(
            [
                "purify",
                str(sample_files[0]),
                "-o",
                str(tmp_path / "out"),
                "--purifier",
                "jpeg:quality=101",
            ]
        )
        == 2
    )
    assert capsys.readouterr().err == "jpeg: The field quality is 101; allowed are 1 to 100.\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["jpeg", "resize", "blur", "noise", "median", "quantise", "tvm", "bilateral_guided"]
)
def test_a_megapixel_takes_seconds(name: str) -> None:
    """CPU seconds of one thread: with more threads and a free machine it takes no longer than
    that."""
    photo = F.interpolate(
        torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
        (1024, 1024),
        mode="bicubic",
    )
    module, begun = registry.load("purifiers", name), time.process_time()
    module.purify(
        [photo[0].clamp(0, 1)], None, module.Config(), rng=torch.Generator().manual_seed(0)
    )
    taken = time.process_time() - begun
    print(f"{name}: {taken:.2f} CPU s")
    assert taken < (20 if name in ("tvm", "bilateral_guided") else 3)
