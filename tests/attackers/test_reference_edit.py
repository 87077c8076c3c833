"""Editors that are shown a photo, against diffusers' own pipelines, on small random models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from conftest import of_all_workers
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit
from helpers import small_families
from torch import Tensor, nn
from transformers import Qwen2Tokenizer, Qwen2VLImageProcessor, Qwen2VLProcessor

from cloakwork.attackers import reference_edit
from cloakwork.errors import UserError
from cloakwork.finetuning import export
from cloakwork.models import latents, loading
from cloakwork.models.ldm import LDM
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.tensors import to_pil
from cloakwork.state import RunState
from cloakwork.types import Images, Photos
from cloakwork.workflows.check import check

PROMPTS = ["give it a red hat", "make it night"]
EDITORS = ["kontext", "flux2", "klein", "qwen_edit"]


@pytest.fixture(scope="module", params=EDITORS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = request.param
    return small_families.save(name, of_all_workers(tmp_path_factory) / f"small-{name}")


@pytest.fixture(scope="module")
def model(folder: Path) -> LDM:
    theta = loading.load(str(folder), "cpu").copy()
    louder(theta.denoiser)
    return theta


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Any:
    parts = {"processor": processor(folder)} if (folder / "processor").is_dir() else {}
    whole = diffusers.DiffusionPipeline.from_pretrained(folder, **parts)
    whole.set_progress_bar_config(disable=True)
    louder(whole.transformer)
    return whole


def processor(folder: Path) -> Any:
    """transformers' own, but for what it makes of videos, which takes torchvision."""
    made = Qwen2VLProcessor.__new__(Qwen2VLProcessor)
    made.image_processor = Qwen2VLImageProcessor.from_pretrained(folder / "processor")
    made.tokenizer = Qwen2Tokenizer.from_pretrained(folder / "processor")
    made.image_token, made.video_token = "<|image_pad|>", "<|video_pad|>"
    made.image_token_id = made.tokenizer.convert_tokens_to_ids(made.image_token)
    made.video_token_id = made.tokenizer.convert_tokens_to_ids(made.video_token)
    made.chat_template = None
    return made


@pytest.fixture(scope="module")
def squares(photos: Photos, model: LDM) -> Images:
    """Photos of the victim's own size, in 8 bits."""
    return (preprocess(photos[:2], model.size) * 255).round() / 255


def louder(transformer: nn.Module) -> None:
    """Double the matrices: under fresh weights a picture hardly tells what was attended to."""
    for p in transformer.parameters():
        if p.dim() > 1:
            p.data.mul_(2)


def far(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def run(model: LDM, photos: Photos, prompts: list[str], **fields: Any) -> Images:
    cfg = reference_edit.Config(**{"steps": 3, "guidance": 4.0, **fields})
    return reference_edit.attack(photos, model, cfg, prompts, rng=generator(5), state=RunState())


def edited(pipe: Any, x: Tensor, prompt: str, noise: Tensor, negative: str) -> Tensor:
    """One picture by the pipeline, from this noise."""
    side = small_families.SIDE
    how: dict[str, Any] = {"height": side, "width": side, "num_inference_steps": 3}
    how |= {"prompt": [prompt], "output_type": "pt", "image": to_pil(x)}
    if type(pipe).__name__ == "Flux2KleinPipeline":
        away = pipe.encode_prompt([negative])[0]
        how |= {"guidance_scale": 4.0, "negative_prompt_embeds": away, "latents": noise}
    elif type(pipe).__name__ == "QwenImageEditPipeline":
        how |= {"true_cfg_scale": 4.0, "negative_prompt": [negative]}
        how["latents"] = pipe._pack_latents(noise, *noise.shape)
    else:
        how |= {"max_area": side**2, "_auto_resize": False}
        how["latents"] = pipe._pack_latents(noise, *noise.shape)
        how["guidance_scale"] = 3.5 if negative else 4.0
        how |= {"negative_prompt": [negative], "true_cfg_scale": 4.0} if negative else {}
    return pipe(**how).images


@pytest.mark.parametrize("negative", ["", "blurry"])
def test_edits_are_the_pipelines(
    model: LDM, pipe: Any, squares: Images, negative: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts outside, photos inside, each with noise of its own."""
    square = (small_families.SIDE, small_families.SIDE, None)  # Qwen's knows 1024 px alone
    monkeypatch.setattr(pipeline_qwenimage_edit, "calculate_dimensions", lambda *_: square)
    ours = run(model, list(squares), PROMPTS, negative=negative)
    side = model.size // model.scale
    noise = torch.randn(4, latents.channels(model.vae), side, side, generator=generator(5))
    asked = [(x, prompt) for prompt in PROMPTS for x in squares]
    theirs = [
        edited(pipe, x, prompt, noise[i : i + 1], negative) for i, (x, prompt) in enumerate(asked)
    ]
    assert far(ours, torch.cat(theirs)) < 1e-4
    assert far(ours[:1], ours[1:2]) > 1e-2 and far(ours[:1], ours[2:3]) > 1e-2


def test_the_photo_is_seen(model: LDM, squares: Images) -> None:
    """Other pixels, another picture, from the same noise under the same words."""
    first, grey = (run(model, [x], PROMPTS[:1]) for x in (squares[0], squares[0] * 0 + 0.5))
    assert far(grey, first) > 1e-3
    plain = model.sample(PROMPTS[:1], 1, generator(5), steps=3, guidance=4.0, scheduler="euler")
    assert far(plain, first) > 1e-3


def test_a_kept_editor_is_an_editor(model: LDM, squares: Images, tmp_path: Path) -> None:
    export.keep_pipeline(model, tmp_path / "kept")
    kept = loading.load(str(tmp_path / "kept"), "cpu")
    assert kept.editor == model.editor and kept.weights != model.weights
    ours, theirs = (run(m, list(squares[:1]), PROMPTS[:1]) for m in (kept, model))
    assert far(ours, theirs) < 1e-5


def test_it_keeps_the_contract(folder: Path) -> None:
    check("reference_edit", surrogate=str(folder), device="cpu")


def test_who_is_no_editor_is_refused_in_a_sentence(photos: Photos, small: LDM) -> None:
    with pytest.raises(UserError, match=r"no model that edits .* FLUX\.1 Kontext, FLUX\.2"):
        run(small, photos, PROMPTS)


def test_dev_is_no_editor_and_kontext_is_one_of_the_same_parts(tmp_path: Path) -> None:
    """As a surrogate Kontext is FLUX.1: the same loss, the same pictures."""
    dev, kontext = (
        loading.load(str(small_families.save(name, tmp_path / name)), "cpu")
        for name in ("flux", "kontext")
    )
    assert kontext.family is dev.family and kontext.edits and not dev.edits
    x = torch.rand(1, 3, dev.size, dev.size, generator=generator(0))
    assert torch.equal(*(m.loss(x, m.embed(PROMPTS[:1]), generator(1)) for m in (dev, kontext)))
    assert torch.equal(*(m.sample(PROMPTS[:1], 1, generator(1), steps=2) for m in (dev, kontext)))
