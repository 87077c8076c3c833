"""Models in one file, read as the pipeline's folder that they were made of."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 - to write what is never read
import shutil
import socket
import zipfile
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import transformers
from conftest import of_all_workers
from helpers import single_files, small_families, small_model
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.models import loading, pipelines, single_file
from cloakwork.models.file_layouts import CONFIGS, Content
from cloakwork.models.file_parts import settings_of, sizes_of_sd3
from cloakwork.models.ldm import LDM
from cloakwork.models.names import Named

PROMPTS = ["a photo of a cat", "a red car"]
# kind -> the pipeline that it is made of
KINDS = {"sd1": "small", "sd2": "small", "sdxl": "small-sdxl"}
KINDS |= {kind: f"small-{kind}" for kind in ("sd3", "flux", "schnell")}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = of_all_workers(tmp_path_factory)
    kinds = ("sdxl", "sd3", "flux", "schnell")
    saved = {f"small-{kind}": small_families.save(kind, base / f"small-{kind}") for kind in kinds}
    return saved | {"small": small_model.save(base / "small")}


@pytest.fixture(scope="module")
def tensors(folders: dict[str, Path]) -> dict[str, dict[str, Tensor]]:
    pipes = {name: diffusers.DiffusionPipeline.from_pretrained(f) for name, f in folders.items()}
    return {kind: single_files.LAYOUTS[kind](pipes[name]) for kind, name in KINDS.items()}


@pytest.fixture
def parts(folders: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Configs and tokenizers of every pipeline."""
    return {
        name: single_files.without_weights(folder, tmp_path / f"parts-{name}")
        for name, folder in folders.items()
    }


def far(a: Tensor, b: Tensor) -> float:
    """Return the relative error of a against b."""
    return ((a - b).norm() / b.norm()).item()


def seen(model: LDM) -> list[Tensor]:
    """Return what a model makes of prompts, of pictures, and of both."""
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(2, 3, model.size, model.size, generator=rng)
    c = model.embed(PROMPTS)
    with torch.no_grad():
        error = model.loss(x, c, rng)
    return [*c.tensors, error, model.sample(PROMPTS[:1], 1, rng, steps=2)]


def refusal(name: str) -> str:
    with pytest.raises(UserError) as error:
        loading.load(name, "cpu")
    assert len(error.value.sentences) == 1
    return str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_the_folder_that_it_was_made_of(
    kind: str,
    folders: dict[str, Path],
    tensors: dict[str, dict[str, Tensor]],
    parts: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))
    folder, beside = folders[KINDS[kind]], parts[KINDS[kind]]
    file = single_files.write(tensors[kind], tmp_path / "a+b.safetensors")
    model = loading.load(f"{file}+{beside}", "cpu")
    whole = loading.load(str(folder), "cpu")
    assert model.family is whole.family and model.size == whole.size
    assert model.zero_negative == whole.zero_negative
    for ours, theirs in zip(seen(model), seen(whole), strict=True):
        assert far(ours, theirs) < 1e-5
    assert {p.dtype for part in model.networks.values() for p in part.parameters()} == {
        torch.float32
    }
    assert model.weights == pipelines.weights(f"{file}+{beside}") != whole.weights


def test_the_digest_is_of_all_that_is_read_wherever_it_lies(
    tensors: dict[str, dict[str, Tensor]], parts: dict[str, Path], tmp_path: Path
) -> None:
    def digest(file: Path, beside: Path) -> str:
        pipelines.weights.cache_clear()
        return pipelines.weights(f"{file}+{beside}")

    beside = parts["small"]
    file = single_files.write(tensors["sd1"], tmp_path / "a.safetensors")
    first = digest(file, beside)
    moved = shutil.copytree(beside, tmp_path / "elsewhere")
    renamed = single_files.write(tensors["sd1"], tmp_path / "b.safetensors")
    assert digest(renamed, moved) == first
    config = moved / "vae/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"scaling_factor": 0.2}))
    assert digest(file, moved) != first
    changed = tensors["sd1"] | {"first_stage_model.quant_conv.bias": torch.ones(8)}
    assert digest(single_files.write(changed, tmp_path / "c.safetensors"), beside) != first


def test_parts_that_are_not_in_the_file_come_from_beside_it(
    folders: dict[str, Path],
    tensors: dict[str, dict[str, Tensor]],
    parts: dict[str, Path],
    tmp_path: Path,
) -> None:
    of_denoiser = {k: t for k, t in tensors["sd1"].items() if k.startswith("model.")}
    file = single_files.write(of_denoiser, tmp_path / "unet.safetensors")
    said = refusal(str(file))
    assert "(Stable Diffusion 1.x) has no vae and no text_encoder and no tokenizer; give" in said
    assert f"--parts FOLDER (or write {file}+FOLDER)" in said
    assert f"no vae and no text_encoder, nor has '{parts['small']}'" in refusal(
        f"{file}+{parts['small']}"
    )
    halves = parts["small"]
    for part, name in (("vae", "diffusion_pytorch_model"), ("text_encoder", "model")):
        source = folders["small"] / part / f"{name}.safetensors"
        shutil.copy(source, halves / part / f"{name}.fp16.safetensors")
    model = loading.load(f"{file}+{halves}", "cpu")
    for ours, theirs in zip(seen(model), seen(loading.load(str(folders["small"]))), strict=True):
        assert far(ours, theirs) < 1e-5


def test_what_the_file_says_it_predicts_counts(
    tensors: dict[str, dict[str, Tensor]], parts: dict[str, Path], tmp_path: Path
) -> None:
    def predicts(kind: str, name: str, *marks: str, **metadata: str) -> Any:
        more = {mark: torch.zeros(0) for mark in marks}
        file = single_files.write(
            tensors[kind] | more, tmp_path / f"{name}.safetensors", **metadata
        )
        return loading.load(f"{file}+{parts[KINDS[kind]]}", "cpu").scheduler.config

    marked = predicts("sdxl", "v", "v_pred", "ztsnr")
    assert marked.prediction_type == "v_prediction" and marked.rescale_betas_zero_snr
    assert predicts("sdxl", "plain").prediction_type == "epsilon"
    said = {"modelspec.prediction_type": "v"}
    assert predicts("sd2", "spec", **said).prediction_type == "v_prediction"
    with pytest.raises(UserError, match="EDM's scaling"):
        predicts("sdxl", "edm", "edm_mean")
    shutil.rmtree(parts["small"] / "scheduler")
    with pytest.raises(UserError, match=r"does not say whether .* has the scheduler/ of its"):
        predicts("sd2", "unsaid")
    assert predicts("sd1", "unsaid").prediction_type == "epsilon"
    assert predicts("sd2", "said", **said).prediction_type == "v_prediction"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_smaller_numbers_are_read_in_full_precision(
    dtype: torch.dtype,
    tensors: dict[str, dict[str, Tensor]],
    parts: dict[str, Path],
    tmp_path: Path,
) -> None:
    """And the names that text encoders had in the first files, without text_model."""
    halves = {k.replace("text_model.", ""): t.to(dtype) for k, t in tensors["sd1"].items()}
    file = single_files.write(halves, tmp_path / "half.safetensors")
    model = loading.load(f"{file}+{parts['small']}", "cpu")
    weight = model.denoiser.conv_in.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, halves[f"{single_files.DENOISER}input_blocks.0.0.weight"].float())


def test_wrong_files_are_one_sentence(
    tensors: dict[str, dict[str, Tensor]], parts: dict[str, Path], tmp_path: Path
) -> None:
    whole = single_files.write(tensors["sd1"], tmp_path / "whole.safetensors")
    beside = parts["small"]

    def said(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        return refusal(f"{tmp_path / name}+{beside}")

    assert "cut short" in said("cut.safetensors", whole.read_bytes()[:-1000])
    assert "cut short" in said("cut.safetensors", whole.read_bytes()[:500])
    assert "could not be read as safetensors" in said("p.safetensors", pickle.dumps({"a": 1}))
    for ending in (".ckpt", ".pt", ".bin"):
        assert "is a pickle, a kind of file that can run code" in said(f"m{ending}", b"x")
    assert "is a file of another kind" in said("photo.png", b"x")
    with zipfile.ZipFile(tmp_path / "zip.safetensors", "w") as archive:
        archive.writestr("data.pkl", pickle.dumps({}))
    assert "could not be read as safetensors" in refusal(str(tmp_path / "zip.safetensors"))
    assert "There is no file 'gone.safetensors'" in refusal("gone.safetensors")
    assert "There is no file 'models/gone.safetensors'" in refusal("models/gone.safetensors")
    assert "behind + in a model's name" in refusal(f"{whole}+gone")
    assert "'tiny' is none" in refusal(f"tiny+{beside}")


STRANGERS = {
    "lora_unet_mid_block.lora_down.weight": "is an adapter, which changes a model and is none",
    "control_model.time_embed.0.weight": "is a ControlNet",
    "down_blocks.0.resnets.0.conv1.weight": "is a single part in diffusers' own layout",
    "encoder.conv_in.weight": "is an autoencoder without a denoiser",
    "text_model.final_layer_norm.weight": "is a text encoder",
    "double_blocks.0.img_attn.qkv.scale_weight": "is quantised, which cannot be read",
    "0.weight": "is no model of a kind that is known in a single file; known are Stable Diffusion",
}


@pytest.mark.parametrize("key", STRANGERS)
def test_other_kinds_of_files_are_named(key: str, tmp_path: Path) -> None:
    file = single_files.write({key: torch.zeros(1)}, tmp_path / "x.safetensors")
    assert STRANGERS[key] in refusal(str(file))


def test_weights_that_do_not_fit_are_one_sentence(
    tensors: dict[str, dict[str, Tensor]], parts: dict[str, Path], tmp_path: Path
) -> None:
    lost = f"{single_files.DENOISER}out.2.weight"
    holed = {k: t for k, t in tensors["sd1"].items() if k != lost}
    file = single_files.write(holed, tmp_path / "holed.safetensors")
    assert "lacks some of its weights" in refusal(f"{file}+{parts['small']}")
    whole_numbers = tensors["sd1"] | {lost: torch.zeros(4, 16, 3, 3, dtype=torch.int8)}
    file = single_files.write(whole_numbers, tmp_path / "int8.safetensors")
    assert "is quantised, which cannot be read" in refusal(f"{file}+{parts['small']}")
    odd = {f"{single_files.DENOISER}input_blocks.0.0.weight": torch.zeros(1)}
    file = single_files.write(tensors["sd2"] | odd, tmp_path / "odd.safetensors")
    assert "The unet in" in refusal(f"{file}+{parts['small']}")
    lost = "cond_stage_model.transformer.text_model.final_layer_norm.bias"
    holed = {k: t for k, t in tensors["sd1"].items() if k != lost}
    file = single_files.write(holed, tmp_path / "holed2.safetensors")
    assert "The text_encoder in" in refusal(f"{file}+{parts['small']}")
    whole = single_files.write(tensors["sd1"], tmp_path / "whole.safetensors")
    (parts["small"] / "unet/config.json").unlink()  # the known config is a much larger model's
    said = refusal(f"{whole}+{parts['small']}")
    assert "The unet in" in said and "sd1/unet/config.json, could not be read" in said


def test_shapes_say_which_stable_diffusion_3_it_is(
    folders: dict[str, Path],
    tensors: dict[str, dict[str, Tensor]],
    tmp_path: Path,
) -> None:
    """Three were published; the known config is that of one."""
    file = single_files.write(tensors["sd3"], tmp_path / "sd3.safetensors")
    said = sizes_of_sd3(single_file.open_file(Named(str(file), folders["small-sd3"])))
    heads = said.pop("num_attention_heads")
    config = json.loads((folders["small-sd3"] / "transformer/config.json").read_text())
    assert {name: config[name] for name in said} == said | {"dual_attention_layers": [0]}
    assert heads == config["num_attention_heads"] * config["attention_head_dim"] // 64


def test_an_inpainting_model_has_the_channels_of_its_weights(
    tensors: dict[str, dict[str, Tensor]], parts: dict[str, Path], tmp_path: Path
) -> None:
    first = f"{single_files.DENOISER}input_blocks.0.0.weight"
    wide = torch.nn.functional.pad(tensors["sd1"][first], (0, 0, 0, 0, 0, 5))
    file = single_files.write(tensors["sd1"] | {first: wide}, tmp_path / "inpainting.safetensors")
    assert loading.load(f"{file}+{parts['small']}", "cpu").inpaints


def test_what_differs_among_models_of_one_known_config(
    tensors: dict[str, dict[str, Tensor]], parts: dict[str, Path], tmp_path: Path
) -> None:
    def content(kind: str, **metadata: str) -> Content:
        beside = tmp_path / f"words-{kind}"
        if not beside.is_dir():
            shutil.copytree(parts[KINDS[kind]], beside)
            for part in ("unet", "transformer", "scheduler"):
                shutil.rmtree(beside / part, ignore_errors=True)
        file = single_files.write(tensors[kind], tmp_path / f"{kind}.safetensors", **metadata)
        return single_file.open_file(Named(str(file), beside))

    of_v = content("sd2", **{"modelspec.prediction_type": "v"})
    assert settings_of(of_v, "unet") == {"in_channels": 4, "sample_size": 96}
    of_noise = content("sd2", **{"modelspec.prediction_type": "epsilon"})
    assert settings_of(of_noise, "unet") == {"in_channels": 4}
    for kind, told, shift in (("flux", True, 3.0), ("schnell", False, 1.0)):
        of = content(kind)
        assert settings_of(of, "transformer") == {"in_channels": 32, "guidance_embeds": told}
        config = single_file.scheduler(of).config
        assert (config.use_dynamic_shifting, config.shift) == (told, shift)
    assert single_file.scheduler(content("sd3")).config.shift == 3.0


def test_the_transformer_alone_and_all_that_it_lacks(
    folders: dict[str, Path], tensors: dict[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    """As FLUX.1 was published: no prefix, no other part."""
    of = {k.removeprefix(single_files.DENOISER): t for k, t in tensors["flux"].items()}
    alone = {k: t for k, t in of.items() if not k.startswith(("vae.", "text_encoders."))}
    file = single_files.write(alone, tmp_path / "flux1-dev.safetensors")
    said = refusal(str(file))
    assert "(FLUX.1) has no vae and no text_encoder and no text_encoder_2 and no tokenizer" in said
    model = loading.load(f"{file}+{folders['small-flux']}", "cpu")
    whole = loading.load(str(folders["small-flux"]), "cpu")
    for ours, theirs in zip(seen(model), seen(whole), strict=True):
        assert far(ours, theirs) < 1e-5


def test_a_t5_is_left_out_where_the_index_says_so(
    tensors: dict[str, dict[str, Tensor]], parts: dict[str, Path], tmp_path: Path
) -> None:
    lean = {k: t for k, t in tensors["sd3"].items() if "t5xxl" not in k}
    file, beside = single_files.write(lean, tmp_path / "lean.safetensors"), parts["small-sd3"]
    assert "has no text_encoder_3, nor has" in (said := refusal(f"{file}+{beside}"))
    assert "is left out where FOLDER/model_index.json has it as [null, null]" in said
    index = beside / "model_index.json"
    left = {"text_encoder_3": [None, None], "tokenizer_3": [None, None]}
    index.write_text(json.dumps(json.loads(index.read_text()) | left))
    assert loading.load(f"{file}+{beside}", "cpu").text_encoder_3 is None


# parameters of the published models' parts, with Stable Diffusion 3's table of positions
PUBLISHED = {
    "sd1/unet": 859_520_964,
    "sd1/vae": 83_653_863,
    "sd1/text_encoder": 123_060_480,
    "sd2/unet": 865_910_724,
    "sd2/text_encoder": 340_387_840,
    "sdxl/unet": 2_567_463_684,
    "sdxl/vae": 83_653_863,
    "sdxl/text_encoder_2": 694_659_840,
    "sd3/transformer": 2_084_951_104,
    "sd3/vae": 83_819_683,
    "sd3/text_encoder": 123_650_304,
    "sd3/text_encoder_3": 4_762_310_656,
    "flux/transformer": 11_901_408_320,
    "flux/vae": 83_819_683,
}


@pytest.mark.parametrize("part", PUBLISHED)
def test_known_configs_are_those_of_the_published_models(part: str) -> None:
    config = json.loads((CONFIGS / part / "config.json").read_text())
    with torch.device("meta"):
        if "_class_name" in config:
            made = getattr(diffusers, config["_class_name"]).from_config(config)
        else:
            kind = getattr(transformers, config["architectures"][0])
            made = kind(kind.config_class.from_dict(config))
    table = [b for name, b in made.named_buffers() if name == "pos_embed.pos_embed"]
    assert sum(p.numel() for p in (*made.parameters(), *table)) == PUBLISHED[part]
