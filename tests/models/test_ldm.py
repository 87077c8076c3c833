from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DConditionModel
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file

from cloakwork import registry
from cloakwork.errors import UserError
from cloakwork.files import ASSETS, SAMPLE_PHOTOS
from cloakwork.finetuning import adapters
from cloakwork.models import denoising, ldm, loading, pipelines, pixel_ddpm, schedulers
from cloakwork.models import device as devices
from cloakwork.models.device import free_memory, pick_device
from cloakwork.models.text import Text
from cloakwork.photos.photo import load_photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.tensors import as_float
from cloakwork.types import Photos

MODEL = ASSETS / registry.EMBEDDED["tiny"]


@pytest.fixture(scope="module")
def x(photos: Photos) -> torch.Tensor:
    return preprocess(photos, 128)


def test_round_trip_looks_like_the_photo(tiny: ldm.LDM, x: torch.Tensor) -> None:
    with torch.no_grad():
        y = tiny.decode(tiny.encode(x))
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1
    assert -10 * torch.log10((x - y).square().mean()) > 17  # dB


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_loss_is_the_diffusers_one(small: ldm.LDM, x: torch.Tensor, kind: str) -> None:
    """Against an independent statement: DDPMScheduler's own noising and velocity, the pipeline's
    modules called by hand."""
    scheduler = DDPMScheduler.from_config(small.scheduler.config, prediction_type=kind)
    model = replace(small, scheduler=scheduler)
    ours = model.loss(x, model.embed(["a photo of a cat"]), torch.Generator().manual_seed(3))
    g = torch.Generator().manual_seed(3)
    t = torch.randint(0, 1000, (len(x),), generator=g)
    ids = small.tokenizer(
        "a photo of a cat", padding="max_length", max_length=77, return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        z = small.vae.encode(2 * x - 1).latent_dist.mean * small.vae.config.scaling_factor
        noise = torch.randn(z.shape, generator=g)
        c = small.text_encoder(ids)[0].repeat(len(x), 1, 1)
        out = small.denoiser(scheduler.add_noise(z, noise, t), t, encoder_hidden_states=c).sample
        target = noise if kind == "epsilon" else scheduler.get_velocity(z, noise, t)
    assert torch.allclose(ours, (out - target).square().mean(), rtol=1e-4)


def test_flow_matching_target(small: ldm.LDM) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    model = replace(small, scheduler=FlowMatchEulerDiscreteScheduler())
    z, noise = torch.randn(2, 4, 16, 16), torch.randn(2, 4, 16, 16)
    z_t, target = model.diffuse(z, noise, torch.tensor([0, 500]))
    assert (
        torch.equal(z_t[0], z[0])
        and torch.allclose(z_t[1], (z[1] + noise[1]) / 2)
        and torch.equal(target, noise - z)
    )


def test_the_second_model_is_another_one_in_the_same_latent_space(
    tiny: ldm.LDM, x: torch.Tensor
) -> None:
    """Another autoencoder and UNet; but each decodes the other's latents to nearly the same
    picture."""
    other = loading.load("tiny-b", "cpu")
    assert type(other.vae) is not type(tiny.vae) and other.weights != tiny.weights
    assert (
        sum(p.numel() for p in other.denoiser.parameters())
        < sum(p.numel() for p in tiny.denoiser.parameters()) / 2
    )
    assert torch.equal(other.embed(["a cat"]).hidden, tiny.embed(["a cat"]).hidden)
    with torch.no_grad():
        z, z_other = tiny.encode(x), other.encode(x)
        assert (z - z_other).square().mean() < 0.25 * z.square().mean()
        assert (other.decode(z) - x).abs().mean() < 0.1 > (tiny.decode(z_other) - x).abs().mean()


@pytest.mark.parametrize("name", ["tiny", "tiny-b"])
def test_the_model_is_trained(name: str) -> None:
    """It finds the noise in an unseen portrait far better than a guess of none (1.0), and better
    with the right words."""
    model = loading.load(name, "cpu")
    portrait = as_float(load_photo(SAMPLE_PHOTOS / "astronaut.jpg").pixels)[
        :, 20:180, 140:300
    ]  # the face
    with torch.no_grad():
        z = model.encode(preprocess([portrait], 128)).expand(8, -1, -1, -1)
        person, trilobite = (
            torch.stack([model.latent_loss(z, model.embed([p]), g) for _ in range(6)]).mean()
            for p, g in [
                (f"a photo of a {n}", torch.Generator().manual_seed(0))
                for n in ("person", "trilobite")
            ]
        )
    assert person < 0.5 and person < trilobite


def test_posterior_sample_scatters_around_the_mean(tiny: ldm.LDM, x: torch.Tensor) -> None:
    model = replace(tiny, sample_posterior=True)
    with torch.no_grad():
        a, b = (model.encode(x, torch.Generator().manual_seed(s)) for s in (0, 1))
        mean = tiny.encode(x)
    assert not torch.equal(a, b) and (a - mean).abs().mean() < 0.2 * mean.abs().mean()


def test_text_is_cached_while_frozen_and_alive_while_it_learns(small: ldm.LDM) -> None:
    model = small.copy()
    assert model.embed(["a cat", "a cat"]).hidden.shape == (2, 77, 32)
    assert model.embed(["a cat"]).hidden.grad_fn is None
    before = model.embed(["a cat"]).hidden
    with model.trainable() as params:
        assert model.embed(["a cat"]).hidden.grad_fn is not None
        with torch.no_grad():
            next(p for k, p in params.items() if k.endswith("position_embedding.weight")).add_(0.1)
    assert not torch.equal(before, model.embed(["a cat"]).hidden)
    assert not any(p.requires_grad for p in model.denoiser.parameters())


def test_copy_is_another_model(small: ldm.LDM) -> None:
    model = small.copy()
    with torch.no_grad():
        next(model.denoiser.parameters()).add_(1)
    assert not torch.equal(next(model.denoiser.parameters()), next(small.denoiser.parameters()))
    assert model.vae is small.vae


def test_a_copy_can_share_its_weights(small: ldm.LDM) -> None:
    """Layers that are put on it are its own: the model itself has none of them."""
    model = small.copy(share_weights=True)
    adapters.add_lora(model, 2, "attention", torch.Generator(), text_encoder=True)
    names = [name for name, _ in small.denoiser.named_parameters()]
    assert not any(adapters.is_lora(name) for name in names)
    own = dict(small.denoiser.named_parameters())
    for name, p in model.denoiser.named_parameters():
        if not adapters.is_lora(name):
            assert p is own[name.replace(".base_layer", "")]


def test_text_encoders_wait_elsewhere_while_nobody_reads(
    small: ldm.LDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stood for by a model whose denoiser says that it is on another device."""
    moves: list[str] = []
    there = torch.device("meta")
    monkeypatch.setattr(ldm.LDM, "device", property(lambda self: there))
    monkeypatch.setattr(ldm.LDM, "autocast", lambda self: nullcontext())
    monkeypatch.setattr(
        torch.nn.Module, "to", lambda self, device: moves.append(torch.device(device).type)
    )
    model = small.copy()
    monkeypatch.setattr(model.family, "embed", lambda *_: moves.append("read") or text)
    text = Text(torch.zeros(1, 2, 3))
    model.embed(["a cat"])
    model.embed(["a cat"])
    assert moves == ["meta", "read", "cpu"]
    with model.trainable():
        model.embed(["a cat"])
        model.embed(["a cat"])
    assert moves[3:] == ["meta", "read", "read", "cpu"]  # while they learn they stay


def test_sks_is_one_token(small: ldm.LDM) -> None:
    assert small.spell("a photo of sks person, asks <sks>") == "a photo of <sks> person, asks <sks>"
    assert torch.equal(
        small.embed(["a photo of sks person"]).hidden,
        small.embed(["a photo of <sks> person"]).hidden,
    )
    assert "<sks>" in small.tokenizer.tokenize("a photo of <sks> person")


def test_any_prompt_can_be_spelled(small: ldm.LDM) -> None:
    for prompt in ("", "xxyy5syt00 Ünïcødé 猫 🙂", "w" * 500):
        assert torch.isfinite(small.embed([prompt]).hidden).all()


def test_sampling_depends_on_the_seed_alone(small: ldm.LDM) -> None:
    def draw(seed: int) -> torch.Tensor:
        return small.sample(["a photo of a cat"], 2, torch.Generator().manual_seed(seed), steps=3)

    first = draw(0)
    assert first.shape == (2, 3, 128, 128) and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, draw(0)) and not torch.equal(first, draw(1))


NAMES = list(schedulers.SCHEDULERS)
PROMPT = ["a photo of a sunflower"]


@pytest.mark.parametrize(("guidance", "negative"), [(7.5, ""), (3.0, "blurry")])
def test_ddim_has_not_changed_a_bit(small: ldm.LDM, guidance: float, negative: str) -> None:
    """Against the plain statement of it: class pictures are kept on the ground that it never
    moves."""
    scheduler: Any = DDIMScheduler.from_config(small.scheduler.config, clip_sample=False)
    scheduler.set_timesteps(3)
    noise = torch.randn(10, 4, 16, 16, generator=torch.Generator().manual_seed(2))
    free, held = small.embed([negative]).hidden, small.embed(PROMPT).hidden
    pictures = []
    with torch.no_grad():
        for z in noise.split(8):
            c = torch.cat([free.expand(len(z), -1, -1), held.expand(len(z), -1, -1)])
            for t in scheduler.timesteps:
                e_free, e_held = small.denoiser(
                    z.repeat(2, 1, 1, 1), t, encoder_hidden_states=c
                ).sample.chunk(2)
                z = scheduler.step(e_free + guidance * (e_held - e_free), t, z).prev_sample
            pictures.append(small.decode(z))
    rng = torch.Generator().manual_seed(2)
    assert torch.equal(
        torch.cat(pictures),
        small.sample(PROMPT, 10, rng, steps=3, guidance=guidance, negative=negative),
    )
    left = torch.Generator().manual_seed(2)
    torch.randn(noise.shape, generator=left)
    assert torch.equal(torch.rand(3, generator=rng), torch.rand(3, generator=left)), (
        "it took something else from the generator"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_scheduler_draws_from_the_seed_alone(small: ldm.LDM, name: str) -> None:
    def draw(seed: int) -> torch.Tensor:
        return small.sample(PROMPT, 2, torch.Generator().manual_seed(seed), steps=4, scheduler=name)

    first = draw(0)
    assert (
        first.shape == (2, 3, 128, 128)
        and first.isfinite().all()
        and first.min() >= 0
        and first.max() <= 1
    )
    assert torch.equal(first, draw(0)) and not torch.allclose(first, draw(1), atol=0.05)


@pytest.fixture(scope="module")
def by_ddim(small: ldm.LDM) -> tuple[torch.Tensor, torch.Tensor]:
    """Two pictures in many steps, and two of other noise."""
    first, other = (
        small.sample(PROMPT, 2, torch.Generator().manual_seed(s), steps=40, guidance=2)
        for s in (0, 1)
    )
    return first, other


@pytest.mark.parametrize(
    "name", [n for n in NAMES if n not in schedulers.STOCHASTIC and n != "ddim"]
)
def test_schedulers_without_noise_come_to_one_picture(
    small: ldm.LDM, by_ddim: tuple[torch.Tensor, torch.Tensor], name: str
) -> None:
    ours = small.sample(
        PROMPT, 2, torch.Generator().manual_seed(0), steps=40, guidance=2, scheduler=name
    )
    ddim, other = by_ddim
    assert (ours - ddim).square().mean() < 0.1 * (other - ddim).square().mean()


@pytest.mark.parametrize("name", NAMES)
def test_a_model_that_predicts_v_gives_the_same_pictures(
    small: ldm.LDM, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trained model's noise, turned into v by hand, under a schedule that says so."""
    how: dict[str, Any] = {"steps": 6, "guidance": 2.0, "scheduler": name}
    eps = small.sample(PROMPT, 2, torch.Generator().manual_seed(0), **how)
    model = replace(
        small,
        scheduler=DDPMScheduler.from_config(small.scheduler.config, prediction_type="v_prediction"),
    )
    predict = ldm.LDM.predict

    def velocity(self: ldm.LDM, z_t: torch.Tensor, t: torch.Tensor, c: Text) -> torch.Tensor:
        a = self.scheduler.alphas_cumprod[t.long()]
        return (
            predict(self, z_t, t, c) - (1 - a).sqrt() * z_t
        ) / a.sqrt()  # v = sqrt(a) eps - sqrt(1 - a) z_0

    monkeypatch.setattr(ldm.LDM, "predict", velocity)
    v = model.sample(PROMPT, 2, torch.Generator().manual_seed(0), **how)
    # pndm averages what the model predicts over its steps, and v at one timestep is another thing
    # than at the next
    assert (v - eps).square().mean() < (0.02 if name == "pndm" else 1e-5)


def test_noise_on_the_way_is_each_pictures_own(
    small: ldm.LDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(scheduler: str, n: int = 3) -> torch.Tensor:
        return small.sample(
            PROMPT, n, torch.Generator().manual_seed(0), steps=4, scheduler=scheduler
        )

    whole = draw("ddpm")
    assert not torch.allclose(whole, draw("ddim"), atol=0.05)
    monkeypatch.setattr(denoising, "SAMPLING_MICRO_BATCH", 2)
    assert torch.allclose(draw("ddpm"), whole, atol=2e-3)


def test_guidance_one_is_the_text_alone(small: ldm.LDM, monkeypatch: pytest.MonkeyPatch) -> None:
    how: dict[str, Any] = {"steps": 4, "negative": "blurry"}
    nearly = small.sample(PROMPT, 2, torch.Generator().manual_seed(0), guidance=1 + 1e-6, **how)
    rows, predict = [], ldm.LDM.predict

    def count(self: ldm.LDM, z_t: torch.Tensor, t: torch.Tensor, c: Text) -> torch.Tensor:
        rows.append(len(z_t))
        return predict(self, z_t, t, c)

    monkeypatch.setattr(ldm.LDM, "predict", count)
    alone = small.sample(PROMPT, 2, torch.Generator().manual_seed(0), guidance=1, **how)
    assert torch.allclose(alone, nearly, atol=2e-3) and rows == [2] * 4


def test_a_wrong_scheduler_is_refused_with_a_suggestion(small: ldm.LDM) -> None:
    with pytest.raises(
        UserError,
        match=r"no scheduler 'dpm'; did you mean '.+'\? Known: ddim, ddpm, pndm, euler, dpm\+\+",
    ):
        small.sample(PROMPT, 1, torch.Generator(), scheduler="dpm")
    with pytest.raises(
        UserError, match="2000 denoising steps were asked for; allowed are 1 to 1000"
    ):
        small.sample(PROMPT, 1, torch.Generator(), steps=2000)


def test_bfloat16_is_near_float32(tiny: ldm.LDM, x: torch.Tensor) -> None:
    half = loading.load("tiny", "cpu", "bfloat16")
    with torch.no_grad():
        a, b = tiny.encode(x), half.encode(x)
    assert b.dtype == torch.float32 and (a - b).square().mean() / a.square().mean() < 0.01
    assert next(half.denoiser.parameters()).dtype == torch.float32


def refusal(name: str, **how: str) -> str:
    with pytest.raises(UserError) as error:
        loading.load(name, **how)
    assert len(error.value.sentences) == 1
    return str(error.value)


def test_on_cuda_convolutions_are_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    class There:
        device = torch.device("cuda", 0)

    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    assert pick_device("cpu").type == "cpu" and not torch.backends.cudnn.deterministic
    monkeypatch.setattr(torch, "empty", lambda *_, **__: There)
    assert pick_device("cuda").type == "cuda" and torch.backends.cudnn.deterministic


def test_wrong_folders_are_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "model_index.json" in refusal(str(tmp_path))
    assert "no model 'nothing-here'" in refusal("nothing-here")
    assert "dtype 'int8'" in refusal("tiny", dtype="int8")
    for device in ("abacus", "meta", "hpu", "cuda:99"):
        assert f"device '{device}' cannot be used here" in refusal("tiny", device=device)
    pickled = tmp_path / "pickled"
    shutil.copytree(MODEL, pickled)
    weights = next((pickled / "unet").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    assert "weights in unet/. Pickle files are never loaded" in refusal(str(pickled))


def test_a_folder_of_halves_loads_in_full_precision(tmp_path: Path, small_name: str) -> None:
    """As people keep them; where both are there, the full ones are read and counted."""
    folder = tmp_path / "half"
    shutil.copytree(small_name, folder)
    full = loading.load(small_name, "cpu")
    for file in sorted(folder.glob("*/*.safetensors")):
        halves = {k: t.half() for k, t in load_file(file).items()}
        save_file(halves, file.with_suffix(".fp16.safetensors"))
        save_file(halves, file.with_suffix(".non_ema.safetensors"))
    both = loading.load(str(folder), "cpu")
    assert both.weights == full.weights
    assert torch.equal(both.denoiser.conv_in.weight, full.denoiser.conv_in.weight)
    (only := tmp_path / "only").symlink_to(folder)  # the same folder is not read again
    (folder / "unet/diffusion_pytorch_model.safetensors").unlink()
    (folder / "text_encoder/model.safetensors").unlink()
    half = loading.load(str(only), "cpu")
    assert half.weights != full.weights
    weight = half.denoiser.conv_in.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, full.denoiser.conv_in.weight.half().float())
    assert torch.equal(half.vae.quant_conv.weight, full.vae.quant_conv.weight)


def test_halves_are_fetched_from_the_hub_where_there_is_nothing_else(
    tmp_path: Path, small_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched, copy = [], tmp_path / "copy"

    def snapshot(
        name: str,
        allow_patterns: list[str],
        ignore_patterns: list[str],
        local_files_only: bool = False,
    ) -> str:
        files = [f.relative_to(small_name).as_posix() for f in Path(small_name).rglob("*.*")]
        files = [f"{f[:-12]}.fp16.safetensors" if f.endswith(".safetensors") else f for f in files]
        kept = filter_repo_objects(
            files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns
        )
        for file in () if local_files_only else kept:
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(Path(small_name) / file.replace(".fp16", ""), copy / file)
            fetched.append(file)
        return str(copy)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert loading.load("owner/halves", "cpu").weights == pipelines.weights("owner/halves")
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in fetched
    assert pipelines.without_network("owner/halves") == str(copy)
    (style := tmp_path / "style.safetensors").touch()
    assert pipelines.without_network(f"owner/halves+{style}") == f"{copy}+{style}"


@pytest.mark.parametrize("index", ["[" * 200_000, "[]", "{", "\xff", '{"vae": [{}, {}]}'])
def test_a_damaged_index_is_one_sentence(tmp_path: Path, index: str) -> None:
    (tmp_path / "model_index.json").write_text(index, encoding="latin-1")
    assert refusal(str(tmp_path))
    with pytest.raises(UserError, match="a denoiser of pixels"):
        pixel_ddpm.load(str(tmp_path), "cpu")


def test_a_folder_in_a_files_place_is_one_sentence(tmp_path: Path, small_name: str) -> None:
    shutil.copytree(small_name, tmp_path / "model")
    config = tmp_path / "model/unet/config.json"
    config.unlink()
    config.mkdir()
    pipelines.weights(str(tmp_path / "model"))
    assert "could not be read" in refusal(str(tmp_path / "model"))


def test_a_folder_that_is_not_whole_is_one_sentence(tmp_path: Path, small_name: str) -> None:
    lacking = {
        "tokenizer": "has no vocab.json and merges.txt, or tokenizer.json in tokenizer/",
        "scheduler": "has no scheduler_config.json in scheduler/",
    }
    for part, says in lacking.items():
        shutil.copytree(small_name, tmp_path / part)
        shutil.rmtree(tmp_path / part / part)
        assert says in refusal(str(tmp_path / part))
    shutil.copytree(small_name, tmp_path / "folders")
    for file in (tmp_path / "folders").glob("tokenizer/*"):
        file.unlink()
        file.mkdir()
    assert "in tokenizer/" in refusal(str(tmp_path / "folders"))


KL, CLIP = ["diffusers", "AutoencoderKL"], ["transformers", "CLIPTextModel"]
FAMILIES: dict[str, dict[str, list[str]]] = {
    "FluxPipeline": {
        "vae": KL,
        "text_encoder": CLIP,
        "transformer": ["diffusers", "FluxTransformer2DModel"],
    },
    "StableDiffusion3Pipeline": {
        "vae": KL,
        "text_encoder": CLIP,
        "transformer": ["diffusers", "SD3Transformer2DModel"],
    },
    "StableDiffusionXLImg2ImgPipeline": {  # the refiner, which has the second text encoder alone
        "vae": KL,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    },
    "AnimateDiffPipeline": {
        "vae": KL,
        "text_encoder": CLIP,
        "unet": ["diffusers", "UNetMotionModel"],
    },
    "IFPipeline": {
        "unet": ["diffusers", "UNet2DConditionModel"],
        "text_encoder": ["transformers", "T5EncoderModel"],
    },
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_are_refused_in_a_sentence(family: str, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(
        json.dumps({"_class_name": family, **FAMILIES[family]})
    )
    said = refusal(str(tmp_path))
    assert (
        f"holds a model of another family, {family} (" in said
        and "Stable Diffusion 1.x and 2.x" in said
    )


def test_a_unet_with_other_inputs_is_refused(tmp_path: Path) -> None:
    """Such as that of an upscaler (7 channels)."""
    folder = tmp_path / "model"
    shutil.copytree(MODEL, folder)
    config = json.loads((folder / "unet" / "config.json").read_text())
    unet: Any = UNet2DConditionModel.from_config({**config, "in_channels": 7})
    unet.save_pretrained(folder / "unet")
    assert "has 7 input channels" in refusal(str(folder))


def test_no_network_for_a_hub_id_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "fetched from the hub" in refusal("nobody/no-such-model")


def test_a_truncated_weight_file_is_one_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(MODEL, broken)
    weights = next((broken / "vae").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "could not be read" in refusal(str(broken))


def test_free_memory_goes_by_the_limits_of_all_groups_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job's own group has no limit, the group of all its steps one of 10 MB."""
    step = tmp_path / "job" / "step"
    step.mkdir(parents=True)
    for folder, limit, taken in ((step, "max", "1"), (step.parent, "10000000", "4000000")):
        (folder / "memory.max").write_text(f"{limit}\n")
        (folder / "memory.current").write_text(f"{taken}\n")
    (tmp_path / "own").write_text("9:cpu:/elsewhere\n0::/job/step\n")
    monkeypatch.setattr(devices, "CGROUPS", tmp_path)
    monkeypatch.setattr(devices, "OWN_CGROUP", tmp_path / "nothing")
    unlimited = free_memory(torch.device("cpu"))
    monkeypatch.setattr(devices, "OWN_CGROUP", tmp_path / "own")
    assert free_memory(torch.device("cpu")) == 6_000_000 < unlimited
