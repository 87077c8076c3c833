"""Editors on the trained embedded model, against diffusers' own pipelines made of the same
parts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from PIL import Image

from cloakwork.attackers import _editing, inpaint, sdedit
from cloakwork.errors import UserError
from cloakwork.finetuning.latent_dataset import encode_dataset
from cloakwork.models import ldm, loading
from cloakwork.models.lpips import load_lpips
from cloakwork.photos.masks import load_masks, masks_to_latents, preprocess_masks
from cloakwork.photos.preprocessing import preprocess
from cloakwork.state import RunState
from cloakwork.types import Images, Photos

PROMPTS = ["a photo of a sunflower", "a photo of a person"]
Run = Callable[..., Images]


def run(
    module: Any, photos: Photos, model: ldm.LDM, prompts: list[str] | None = None, **fields: Any
) -> Images:
    masks, state, seed = (fields.pop(k, None) for k in ("masks", "state", "seed"))
    return module.attack(
        photos,
        model,
        module.Config(**{"steps": 10, **fields}),
        prompts or PROMPTS[:1],
        masks=masks,
        rng=torch.Generator().manual_seed(seed or 0),
        state=state or RunState(),
    )


def pipeline(kind: Any, model: ldm.LDM, scheduler: Any = DDIMScheduler) -> Any:
    pipe = kind(
        vae=model.vae,
        text_encoder=model.text_encoder,
        tokenizer=model.tokenizer,
        unet=model.denoiser,
        scheduler=scheduler.from_config(model.scheduler.config),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def latents(model: ldm.LDM, x: Images) -> torch.Tensor:
    with torch.no_grad():
        return model.encode(x)


@pytest.fixture(scope="module")
def x(photos: Photos) -> Images:
    return preprocess(photos, 128)


@pytest.fixture(scope="module")
def round_trip(small: ldm.LDM, x: Images) -> Images:
    with torch.no_grad():
        return small.decode(small.encode(x))


@pytest.fixture(scope="module")
def wide(small: ldm.LDM, tmp_path_factory: pytest.TempPathFactory) -> ldm.LDM:
    """An inpainting model: `small` with five more input channels, whose weights are random."""
    folder = tmp_path_factory.mktemp("wide") / "model"
    shutil.copytree(small.name, folder)
    unet: Any = UNet2DConditionModel.from_config({**small.denoiser.config, "in_channels": 9})
    weights = dict(small.denoiser.state_dict())
    more = 0.1 * torch.randn(
        weights["conv_in.weight"].shape[0], 5, 3, 3, generator=torch.Generator().manual_seed(1)
    )
    unet.load_state_dict(
        weights | {"conv_in.weight": torch.cat([weights["conv_in.weight"], more], 1)}
    )
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(
        json.dumps(index | {"_class_name": "StableDiffusionInpaintPipeline"})
    )
    return loading.load(str(folder), "cpu")


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [
        ("ddim", DDIMScheduler),
        ("euler", EulerDiscreteScheduler),
        ("dpm++", DPMSolverMultistepScheduler),
    ],
)
@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_sdedit_is_img2img(
    small: ldm.LDM, photos: Photos, x: Images, name: str, scheduler: Any, guidance: float
) -> None:
    ours = run(
        sdedit,
        photos,
        small,
        strengths=(0.65,),
        guidance=guidance,
        scheduler=name,
        negative="blurry",
        seed=5,
    )
    theirs = pipeline(StableDiffusionImg2ImgPipeline, small, scheduler)(
        PROMPTS[:1] * 3,
        image=latents(small, x),
        strength=0.65,
        num_inference_steps=10,
        guidance_scale=guidance,
        negative_prompt=["blurry"] * 3,
        generator=torch.Generator().manual_seed(5),
        output_type="pt",
    ).images
    assert torch.allclose(ours, theirs, atol=2e-3)


@pytest.mark.parametrize("strength", [0.6, 1.0])
@pytest.mark.parametrize("native", [False, True])
def test_inpaint_is_the_inpainting_pipeline(
    small: ldm.LDM, wide: ldm.LDM, photos: Photos, x: Images, native: bool, strength: float
) -> None:
    model = wide if native else small
    ours = run(
        inpaint, photos, model, strengths=(strength,), guidance=4.0, paste_back=False, seed=6
    )
    mask = torch.zeros(3, 1, 128, 128)
    mask[..., 32:96, 32:96] = 1
    theirs = pipeline(StableDiffusionInpaintPipeline, model)(
        PROMPTS[:1] * 3,
        image=latents(model, x),
        mask_image=mask,
        strength=strength,
        num_inference_steps=10,
        guidance_scale=4.0,
        masked_image_latents=latents(model, ((2 * x - 1) * (1 - mask) + 1) / 2),
        generator=torch.Generator().manual_seed(6),
        output_type="pt",
    ).images
    assert torch.allclose(ours, theirs, atol=2e-3)


def test_pictures_come_by_prompt_strength_and_photo(
    small: ldm.LDM, photos: Photos, round_trip: Images
) -> None:
    strengths = (0.0, 0.4, 0.8)
    pictures = run(sdedit, photos, small, PROMPTS, strengths=strengths, guidance=3.0)
    assert (
        pictures.shape == (18, 3, 128, 128)
        and pictures.isfinite().all()
        and 0 <= pictures.min()
        and pictures.max() <= 1
    )
    by = pictures.unflatten(0, (2, 3, 3))
    assert torch.allclose(by[0, 0], round_trip, atol=1e-5) and torch.equal(by[0, 0], by[1, 0])
    assert not torch.allclose(by[0, 2], by[1, 2], atol=0.1)
    for s, strength in enumerate(strengths):
        alone = run(sdedit, photos, small, PROMPTS[:1], strengths=(strength,), guidance=3.0)
        assert torch.allclose(alone, by[0, s], atol=1e-3)


@pytest.mark.parametrize("guidance", [1.0, 7.5])
def test_stronger_edits_are_further_from_the_photo(
    tiny: ldm.LDM, photos: Photos, x: Images, guidance: float
) -> None:
    pictures = run(
        sdedit,
        photos[:2],
        tiny,
        PROMPTS,
        strengths=(0.0, 0.1, 0.3, 0.5, 0.7, 0.9),
        guidance=guidance,
    )
    with torch.no_grad():
        far = [
            load_lpips()(p.flatten(0, 1), x[:2].repeat(2, 1, 1, 1)).mean()
            for p in pictures.unflatten(0, (2, 6, 2)).unbind(1)
        ]
    assert all(a < b for a, b in pairwise(far)), far


def test_stronger_inpainting_is_further_from_the_photo(
    small: ldm.LDM, photos: Photos, x: Images
) -> None:
    pictures = run(inpaint, photos, small, PROMPTS, strengths=(0.0, 0.1, 0.3, 0.6, 1.0))
    with torch.no_grad():
        far = [
            load_lpips()(p.flatten(0, 1), x.repeat(2, 1, 1, 1)).mean()
            for p in pictures.unflatten(0, (2, 5, 3)).unbind(1)
        ]
    assert all(a < b for a, b in pairwise(far)), far


LONG: dict[str, Any] = {"strengths": (0.3, 0.6), "steps": 30, "guidance": 1.0}


@pytest.fixture(scope="module")
def by_ddim(small: ldm.LDM, photos: Photos) -> tuple[Images, Images]:
    """Edits of two photos at two strengths, and the same with other noise."""
    first, other = (run(sdedit, photos[:2], small, **LONG, seed=seed) for seed in (0, 1))
    return first, other


@pytest.mark.parametrize("name", ["pndm", "euler", "dpm++", "unipc"])
def test_schedulers_without_noise_agree_from_any_strength(
    small: ldm.LDM, photos: Photos, by_ddim: tuple[Images, Images], name: str
) -> None:
    """They solve one equation: wherever they begin, they come to the same picture, unlike ddim with
    other noise."""
    ours = run(sdedit, photos[:2], small, **LONG, scheduler=name)
    for a, b, c in zip(ours.split(2), *(x.split(2) for x in by_ddim), strict=True):
        assert (a - b).square().mean() < 0.02 * (c - b).square().mean()


@pytest.mark.parametrize("module", [sdedit, inpaint])
def test_noise_does_not_depend_on_batching(
    small: ldm.LDM, photos: Photos, module: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does what ddpm draws on its way."""
    whole = run(module, photos, small, strengths=(0.5,), scheduler="ddpm")
    again = run(module, photos, small, strengths=(0.5,), scheduler="ddpm")
    other = run(module, photos, small, strengths=(0.5,), scheduler="ddpm", seed=1)
    monkeypatch.setattr(_editing, "SAMPLING_MICRO_BATCH", 2)
    parts = run(module, photos, small, strengths=(0.5,), scheduler="ddpm")
    assert (
        torch.equal(whole, again)
        and torch.allclose(whole, parts, atol=2e-3)
        and not torch.allclose(whole, other, atol=0.1)
    )


@pytest.mark.parametrize("module", [sdedit, inpaint])
def test_interrupted_and_resumed_is_the_same(
    small: ldm.LDM, photos: Photos, module: Any, tmp_path: Path
) -> None:
    def stop(label: str, done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    how: dict[str, Any] = {"strengths": (0.2, 0.4, 0.6, 0.8), "scheduler": "ddpm", "steps": 5}
    whole = run(module, photos, small, **how)
    with pytest.raises(KeyboardInterrupt):
        run(
            module,
            photos,
            small,
            **how,
            state=RunState(tmp_path / "s.safetensors", progress=stop, checkpoint_seconds=0),
        )
    seen: list[int] = []
    state = RunState(
        tmp_path / "s.safetensors",
        progress=lambda label, done, total: seen.append(done),
        checkpoint_seconds=0,
    )
    assert torch.equal(run(module, photos, small, **how, state=state), whole)
    assert seen == [3, 4]


def test_known_pixels_stay(tiny: ldm.LDM, photos: Photos, x: Images) -> None:
    """Exactly with paste-back; else, away from the mask, as the autoencoder makes them."""
    with torch.no_grad():
        round_trip = tiny.decode(tiny.encode(x))
    pasted, plain = (run(inpaint, photos, tiny, paste_back=b) for b in (True, False))
    known = torch.ones(1, 1, 128, 128)
    known[..., 32:96, 32:96] = 0
    assert (
        torch.equal(pasted * known, x * known) and ((pasted - x) * (1 - known)).abs().mean() > 0.02
    )
    far = torch.ones(1, 1, 128, 128)
    far[..., 16:112, 16:112] = 0
    error, painted = ((plain - round_trip) * m for m in (far, 1 - known))
    assert error.square().sum() / far.sum() < 0.02 * painted.square().sum() / (1 - known).sum()


def test_every_white_pixel_is_painted_and_masks_are_cut_like_their_photos(
    small: ldm.LDM, photos: Photos, x: Images
) -> None:
    masks = [torch.zeros(1, *p.shape[-2:]) for p in photos]
    for m in masks:  # the right half, and a thin line
        m[..., m.shape[-1] // 2 :] = 1
        m[..., 43:46, :] = 1
    seen = preprocess_masks(masks, photos, 128, 0.5)
    pictures = run(inpaint, photos, small, masks=masks)
    changed = (pictures != x).any(1, keepdim=True)
    assert not changed[seen == 0].any() and changed[seen == 1].float().mean() > 0.99
    assert (
        seen[0, 0, 60].tolist() == [0.0] * 64 + [1.0] * 64
    )  # 168 px wide, cut to its centre square
    assert (
        masks_to_latents(seen, 8)[0, 0, 5].all()
        and not masks_to_latents(seen, 8)[0, 0, 8, :8].any()
    )


def test_an_inpainting_model_only_inpaints(small: ldm.LDM, wide: ldm.LDM, photos: Photos) -> None:
    assert wide.inpaints and not small.inpaints and wide.size == 128
    what = encode_dataset(wide, preprocess(photos, 128), "a photo of sks person")
    refused: list[Callable[[], Any]] = [
        lambda: wide.sample(["a cat"], 1, torch.Generator(), steps=1),
        lambda: run(sdedit, photos, wide, strengths=(0.5,)),
        lambda: wide.latent_loss(what.latents, wide.embed(["a cat"]), torch.Generator()),
    ]
    for action in refused:
        with pytest.raises(
            UserError,
            match="is an inpainting model, which can only inpaint; give a text-to-image model",
        ):
            action()


def refusal(
    module: Any, photos: Photos, model: ldm.LDM, prompts: list[str] | None = None, **fields: Any
) -> list[str]:
    with pytest.raises(UserError) as error:
        run(module, photos, model, prompts, **fields)
    return list(error.value.sentences)


@pytest.mark.parametrize("module", [sdedit, inpaint])
def test_settings_out_of_range_are_refused(small: ldm.LDM, photos: Photos, module: Any) -> None:
    low, high, little = refusal(module, photos, small, strengths=(-0.1, 1.5, 0.05, 0.5))
    assert "-0.1 is not between 0" in low and "1.5 is not between 0" in high
    assert little == (
        "The strength 0.05 of 10 steps is less than one step; take at least 20 steps, or a "
        "strength of 1/10 or more."
    )
    # advice for one strength is enough for the others
    (smallest,) = refusal(module, photos, small, steps=2, strengths=(0.1, 0.3, 0.05, 0.2, 0.5))
    assert smallest.startswith("The strength 0.05 of 2 steps") and "at least 20 steps" in smallest
    (beyond,) = refusal(module, photos, small, steps=2, strengths=(1e-5,))
    assert beyond.endswith("less than one step; take a strength of 1/2 or more.")
    assert "did you mean 'euler'?" in refusal(module, photos, small, scheduler="eular")[0]
    assert "0 denoising steps" in refusal(module, photos, small, steps=0)[0]
    assert "No strength" in refusal(module, photos, small, strengths=())[0]
    with pytest.raises(UserError, match="No prompt"):
        module.attack(photos, small, module.Config(), [], rng=torch.Generator(), state=RunState())


def test_masks_that_do_not_fit_are_refused(small: ldm.LDM, photos: Photos) -> None:
    masks = [torch.ones(1, *p.shape[-2:]) for p in photos]
    both = refusal(inpaint, photos, small, masks=[masks[0], masks[0], masks[1]])
    assert both == [
        "Mask 2 is 168 x 128 pixels where its photo is 128 x 150; make it as large as the photo.",
        "Mask 3 is 128 x 150 pixels where its photo is 128 x 128; make it as large as the photo.",
    ]
    assert refusal(inpaint, photos, small, masks=masks[:2]) == [
        "There are 2 masks for 3 photos; give one mask for each photo."
    ]
    edge = torch.zeros_like(masks[0])
    edge[..., :10] = 1  # left of the centre square
    assert (
        "Mask 1 has no white in the centre square"
        in refusal(inpaint, photos, small, masks=[edge, *masks[1:]])[0]
    )
    assert "more than 0 and at most 1" in refusal(inpaint, photos, small, centre=0.0)[0]


def test_masks_from_files(sample_files: list[Path], tmp_path: Path) -> None:
    for file in sample_files:
        size = Image.open(file).size
        white = Image.new("L", size, 0)
        white.paste(200, (0, 0, size[0] // 2, size[1]))
        white.save(tmp_path / f"{file.stem}.png")
    masks = load_masks(tmp_path, sample_files)
    for mask, file in zip(masks, sample_files, strict=True):
        width, height = Image.open(file).size
        assert (
            mask.shape == (1, height, width)
            and mask[..., : width // 2].all()
            and not mask[..., width // 2 :].any()
        )
    (single,) = load_masks(tmp_path / f"{sample_files[0].stem}.png", sample_files[:1])
    assert torch.equal(single, masks[0])
    strokes = Image.new(
        "RGBA", Image.open(sample_files[0]).size, (255, 255, 255, 0)
    )  # white paint on nothing
    strokes.paste((255, 255, 255, 255), (10, 20, 30, 40))
    strokes.save(tmp_path / "strokes.png")
    (mask,) = load_masks(tmp_path / "strokes.png", sample_files[:1])
    assert mask.sum() == 400 and mask[0, 20:40, 10:30].all()


def test_pictures_that_are_no_masks_are_refused(sample_files: list[Path], tmp_path: Path) -> None:
    photo = sample_files[0]
    width, height = Image.open(photo).size
    half = Image.new("L", (width, height), 255)
    half.paste(0, (0, 0, width // 2, height))
    erased, grey = Image.open(photo).convert("RGB"), Image.open(photo).convert("L").convert("RGB")
    for name, picture in {"erased": erased, "grey": grey}.items():
        picture.putalpha(half)
        picture.save(tmp_path / f"{name}.png")
        with pytest.raises(UserError, match=r"a photo with a transparent part.* with white"):
            load_masks(tmp_path / f"{name}.png", [photo])
    red = Image.new("RGB", (width, height), (255, 0, 0))
    red.paste((255, 255, 255), (0, 0, width, height // 2))
    red.save(tmp_path / "red.png")
    with pytest.raises(UserError, match="a coloured picture"):
        load_masks(tmp_path / "red.png", [photo])
    noise = torch.randint(0, 40, (height, width), generator=torch.Generator().manual_seed(0))
    noisy = noise + 210 * (torch.arange(width) < width // 2)
    Image.fromarray(noisy.byte().numpy()).save(tmp_path / "noisy.jpg", quality=40)
    (mask,) = load_masks(tmp_path / "noisy.jpg", [photo])
    assert mask[..., : width // 2 - 8].all() and not mask[..., width // 2 + 8 :].any()


def test_faults_in_mask_files_come_together(sample_files: list[Path], tmp_path: Path) -> None:
    a, b, c = sample_files
    Image.new("L", (100, 80), 255).save(tmp_path / f"{a.stem}.png")
    Image.new("L", Image.open(c).size, 0).save(tmp_path / f"{c.stem}.png")
    with pytest.raises(UserError) as error:
        load_masks(tmp_path, sample_files)
    size, missing, black = error.value.sentences
    assert "is 100 x 80 pixels where its photo" in size and "is 168 x 128" in size
    assert (
        missing == f"{b} has no mask in {tmp_path}; put one there named {b.stem}.png, "
        "white where the photo may change."
    )
    assert "has no white in it" in black
    shutil.copy(b, tmp_path / f"{b.stem}.png")
    shutil.copy(b, tmp_path / f"{b.stem}.webp")
    with pytest.raises(UserError, match="has several masks"):
        load_masks(tmp_path, [b])
    with pytest.raises(UserError, match="does not exist"):
        load_masks(tmp_path / "nowhere.png", [b])
