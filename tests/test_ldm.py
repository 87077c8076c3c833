from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import SAMPLES
from diffusers import DDPMScheduler

from cloakwork import eot, images, ldm, loading, methods
from cloakwork.errors import UserError
from cloakwork.types import Photos

MODEL = Path(ldm.__file__).parent / "tiny" / methods.EMBEDDED["tiny"]


@pytest.fixture(scope="module")
def x(photos: Photos) -> torch.Tensor:
    return eot.view(photos, 128)


def test_round_trip_looks_like_the_photo(tiny: ldm.LDM, x: torch.Tensor) -> None:
    with torch.no_grad():
        y = tiny.decode(tiny.encode(x))
    assert y.shape == x.shape and y.min() >= 0 and y.max() <= 1
    assert -10 * torch.log10((x - y).square().mean()) > 17  # dB


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_loss_is_the_diffusers_one(tiny: ldm.LDM, x: torch.Tensor, kind: str) -> None:
    """Against an independent statement: DDPMScheduler's own noising and velocity, the pipeline's modules called by hand."""
    scheduler = DDPMScheduler.from_config(tiny.scheduler.config, prediction_type=kind)
    model = replace(tiny, scheduler=scheduler)
    ours = model.loss(x, model.embed(["a photo of a cat"]), torch.Generator().manual_seed(3))
    g = torch.Generator().manual_seed(3)
    t = torch.randint(0, 1000, (len(x),), generator=g)
    ids = tiny.tokenizer("a photo of a cat", padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        z = tiny.vae.encode(2 * x - 1).latent_dist.mean * tiny.vae.config.scaling_factor
        noise = torch.randn(z.shape, generator=g)
        c = tiny.text_encoder(ids)[0].repeat(len(x), 1, 1)
        out = tiny.unet(scheduler.add_noise(z, noise, t), t, encoder_hidden_states=c).sample
        target = noise if kind == "epsilon" else scheduler.get_velocity(z, noise, t)
    assert torch.allclose(ours, (out - target).square().mean(), rtol=1e-4)


def test_flow_matching_target(tiny: ldm.LDM) -> None:
    from diffusers import FlowMatchEulerDiscreteScheduler

    model = replace(tiny, scheduler=FlowMatchEulerDiscreteScheduler())
    z, noise = torch.randn(2, 4, 16, 16), torch.randn(2, 4, 16, 16)
    z_t, target = model.diffuse(z, noise, torch.tensor([0, 500]))
    assert torch.equal(z_t[0], z[0]) and torch.allclose(z_t[1], (z[1] + noise[1]) / 2) and torch.equal(target, noise - z)


def test_the_model_is_trained() -> None:
    """It finds the noise in an unseen portrait far better than a guess of none (1.0), and better with the right words."""
    model = loading.load("tiny", "cpu")
    portrait = images.unit(images.load(SAMPLES / "astronaut.jpg").pixels)[:, 20:276, 96:352]
    with torch.no_grad():
        z = model.encode(eot.view([portrait], 128)).expand(8, -1, -1, -1)
        person, trilobite = (
            torch.stack([model.latent_loss(z, model.embed([p]), g) for _ in range(6)]).mean()
            for p, g in [(f"a photo of a {n}", torch.Generator().manual_seed(0)) for n in ("person", "trilobite")]
        )
    assert person < 0.5 and person < trilobite


def test_posterior_sample_scatters_around_the_mean(tiny: ldm.LDM, x: torch.Tensor) -> None:
    model = replace(tiny, sample_posterior=True)
    with torch.no_grad():
        a, b = (model.encode(x, torch.Generator().manual_seed(s)) for s in (0, 1))
        mean = tiny.encode(x)
    assert not torch.equal(a, b) and (a - mean).abs().mean() < 0.2 * mean.abs().mean()


def test_text_is_cached_while_frozen_and_alive_while_it_learns(tiny: ldm.LDM) -> None:
    model = tiny.copy()
    assert model.embed(["a cat", "a cat"]).shape == (2, 77, 192)
    assert model.embed(["a cat"]).grad_fn is None
    before = model.embed(["a cat"])
    with model.trainable() as params:
        assert model.embed(["a cat"]).grad_fn is not None
        with torch.no_grad():
            next(p for k, p in params.items() if k.endswith("position_embedding.weight")).add_(0.1)
    assert not torch.equal(before, model.embed(["a cat"]))
    assert not any(p.requires_grad for p in model.unet.parameters())


def test_copy_is_another_model(tiny: ldm.LDM) -> None:
    model = tiny.copy()
    with torch.no_grad():
        next(model.unet.parameters()).add_(1)
    assert not torch.equal(next(model.unet.parameters()), next(tiny.unet.parameters()))
    assert model.vae is tiny.vae


def test_sks_is_one_token(tiny: ldm.LDM) -> None:
    assert tiny.spell("a photo of sks person, asks <sks>") == "a photo of <sks> person, asks <sks>"
    assert torch.equal(tiny.embed(["a photo of sks person"]), tiny.embed(["a photo of <sks> person"]))
    assert "<sks>" in tiny.tokenizer.tokenize("a photo of <sks> person")


def test_any_prompt_can_be_spelled(tiny: ldm.LDM) -> None:
    for prompt in ("", "xxyy5syt00 Ünïcødé 猫 🙂", "w" * 500):
        assert torch.isfinite(tiny.embed([prompt])).all()


def test_sampling_depends_on_the_seed_alone(tiny: ldm.LDM) -> None:
    def draw(seed: int) -> torch.Tensor:
        return tiny.sample(["a photo of a cat"], 2, torch.Generator().manual_seed(seed), steps=3)

    first = draw(0)
    assert first.shape == (2, 3, 128, 128) and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, draw(0)) and not torch.equal(first, draw(1))


def test_bfloat16_is_near_float32(tiny: ldm.LDM, x: torch.Tensor) -> None:
    half = loading.load("tiny", "cpu", "bfloat16")
    with torch.no_grad():
        a, b = tiny.encode(x), half.encode(x)
    assert b.dtype == torch.float32 and (a - b).square().mean() / a.square().mean() < 0.01
    assert next(half.unet.parameters()).dtype == torch.float32


def refusal(name: str, **how: str) -> str:
    with pytest.raises(UserError) as error:
        loading.load(name, **how)
    assert len(error.value.sentences) == 1
    return str(error.value)


def test_wrong_folders_are_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "model_index.json" in refusal(str(tmp_path))
    assert "no model 'nothing-here'" in refusal("nothing-here")
    assert "dtype 'int8'" in refusal("tiny", dtype="int8")
    assert "device 'abacus'" in refusal("tiny", device="abacus")
    pickled = tmp_path / "pickled"
    shutil.copytree(MODEL, pickled)
    weights = next((pickled / "unet").glob("*.safetensors"))
    weights.rename(weights.with_suffix(".bin"))
    assert "pickled" in refusal(str(pickled)) and "unet/" in refusal(str(pickled))
    other = tmp_path / "other"
    other.mkdir()
    (other / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline", "vae": [], "transformer": []}))
    assert "FluxPipeline" in refusal(str(other))


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
