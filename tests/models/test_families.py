"""Every family against diffusers' own: the pipeline's pictures, the training scripts' losses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import torch.nn.functional as F
from conftest import of_all_workers
from diffusers.pipelines.flux2 import pipeline_flux2_klein
from helpers import small_families
from helpers.attacks import LEAN, run
from helpers.attacks import PROMPTS as ATTACKED
from torch import Tensor

from cloakwork import registry
from cloakwork.attackers import inpaint, sdedit
from cloakwork.errors import UserError
from cloakwork.finetuning import export
from cloakwork.finetuning.sampling import draw_seed, sampler
from cloakwork.models import latents, loading
from cloakwork.models.device import copied_to
from cloakwork.models.ldm import LDM
from cloakwork.models.pipeline_files import DISTILLED, ZEROS
from cloakwork.photos.preprocessing import Preprocessing, preprocess
from cloakwork.state import RunState
from cloakwork.types import Images, Photos
from cloakwork.workflows.check_trial import SHORT

PROMPTS = ["a photo of a cat", "a red car"]
# for what is compared with diffusers; other tests have a model of the first family, `small`
compared = pytest.mark.parametrize(
    "folder", [*small_families.FIRST, *small_families.FAMILIES], indirect=True, scope="module"
)


@pytest.fixture(scope="module", params=small_families.FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    name = request.param
    return small_families.save(name, of_all_workers(tmp_path_factory) / f"small-{name}")


@pytest.fixture(scope="module")
def model(folder: Path) -> LDM:
    return loading.load(str(folder), "cpu")


@pytest.fixture(scope="module")
def pipe(folder: Path) -> Any:
    """The folder as diffusers reads it."""
    whole = diffusers.DiffusionPipeline.from_pretrained(folder)
    whole.set_progress_bar_config(disable=True)
    return whole


def far(a: Tensor, b: Tensor) -> float:
    """Return the relative error of a against b."""
    return ((a - b).norm() / b.norm()).item()


def is_of(pipe: Any, *kinds: str) -> bool:
    return type(pipe).__name__.startswith(kinds)


def packed(pipe: Any, z: Tensor) -> Tensor:
    """Latents as a pipeline wants to be given them."""
    return pipe._pack_latents(z, *z.shape) if is_of(pipe, "FluxP", "Qwen") else z


def square(pipe: Any) -> dict[str, int]:
    """What a pipeline has to be told of the size: some know 1024 px alone."""
    side = {"height": small_families.SIDE, "width": small_families.SIDE}
    return side if is_of(pipe, "Flux", "Qwen", "ZImage") else {}


def guided(pipe: Any, scale: float, negative: str, n: int) -> dict[str, Any]:
    """What a pipeline is told of the guidance of n pictures, and of what it leads away from."""
    words: dict[str, Any] = {"negative_prompt": [negative] * n}
    if is_of(pipe, "Flux2"):
        return {
            "guidance_scale": scale,
            "negative_prompt_embeds": pipe.encode_prompt([negative] * n)[0],
        }
    if is_of(pipe, "Qwen"):
        return {"true_cfg_scale": scale, **words}
    if is_of(pipe, "ZImage"):
        return {"guidance_scale": scale - 1, **words}
    if not negative:
        return {"guidance_scale": scale}
    if is_of(pipe, "Flux"):
        return {"guidance_scale": 3.5, "true_cfg_scale": scale, **words}
    return {"guidance_scale": scale, **words}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@compared
@pytest.mark.parametrize("negative", ["", "blurry"])
def test_pictures_are_the_pipelines(model: LDM, pipe: Any, negative: str) -> None:
    side = model.size // model.scale
    channels = latents.channels(model.vae)
    noise = torch.randn(2, channels, side, side, generator=generator(5))
    theirs = pipe(
        prompt=list(PROMPTS),  # some pipelines write to it
        latents=packed(pipe, noise),
        num_inference_steps=3,
        output_type="pt",
        **square(pipe),
        **guided(pipe, 4.0, negative, 2),
    ).images
    how: dict[str, Any] = {"steps": 3, "guidance": 4.0, "scheduler": "euler"}
    ours = model.sample(PROMPTS, 1, generator(5), negative=negative, **how)
    assert far(ours, theirs) < 1e-4
    assert far(model.sample(PROMPTS, 1, generator(6), negative=negative, **how), theirs) > 1e-2
    assert far(model.sample(PROMPTS, 1, generator(5), negative="a dog", **how), theirs) > 1e-4


@compared
def test_what_prompts_become_is_the_pipelines(model: LDM, pipe: Any) -> None:
    ours = model.embed(PROMPTS[:1]).hidden
    theirs = embedded(pipe, PROMPTS[0])[0].view_as(ours)
    assert far(ours, theirs) < 1e-4


@pytest.fixture(scope="module")
def x(photos: Photos, model: LDM) -> Images:
    return preprocess(photos[:2], model.size)


@compared
def test_the_denoising_error_is_the_trainers(model: LDM, pipe: Any, x: Images) -> None:
    """Stated again with the pipeline's own parts, on what the model itself drew."""
    ours = model.loss(x, model.embed(PROMPTS), generator(3))
    g = generator(3)
    t = model.timesteps(len(x), g)
    with torch.no_grad():
        z = latents_of(pipe, 2 * x - 1)
        noise = torch.randn(z.shape, generator=g)
        theirs = ERRORS[type(pipe).__name__](pipe, z, noise, t)
    assert far(ours, theirs) < 1e-4


def latents_of(pipe: Any, x: Tensor) -> Tensor:
    """Return latents of pictures in [-1, 1] as the trainers scale them."""
    if is_of(pipe, "Flux2"):
        return pipe._encode_vae_image(x, None)
    if is_of(pipe, "Qwen"):
        z = pipe.vae.encode(x[:, :, None]).latent_dist.mean
        mean, std = (
            torch.tensor(pipe.vae.config[name]).view(1, -1, 1, 1, 1)
            for name in ("latents_mean", "latents_std")
        )
        return ((z - mean) * (1 / std))[:, :, 0]
    z = pipe.vae.encode(x).latent_dist.mean
    return (z - (pipe.vae.config.shift_factor or 0)) * pipe.vae.config.scaling_factor


def error_of_stable_diffusion(pipe: Any, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """As in train_dreambooth.py and train_dreambooth_lora.py."""
    c, _ = pipe.encode_prompt(PROMPTS, "cpu", 1, do_classifier_free_guidance=False)
    schedule = diffusers.DDPMScheduler.from_config(pipe.scheduler.config)
    out = pipe.unet(schedule.add_noise(z, noise, t), t, c, return_dict=False)[0]
    v = schedule.config.prediction_type == "v_prediction"
    return F.mse_loss(out, schedule.get_velocity(z, noise, t) if v else noise)


def error_of_sdxl(pipe: Any, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """As in train_dreambooth_lora_sdxl.py, for pictures that were never cut."""
    c, _, pooled, _ = pipe.encode_prompt(PROMPTS, do_classifier_free_guidance=False)
    sizes = torch.tensor([[64, 64, 0, 0, 64, 64]] * len(z))
    z_t = diffusers.DDPMScheduler.from_config(pipe.scheduler.config).add_noise(z, noise, t)
    out = pipe.unet(
        z_t, t, c, added_cond_kwargs={"time_ids": sizes, "text_embeds": pooled}, return_dict=False
    )[0]
    return F.mse_loss(out, noise)


def error_of_sd3(pipe: Any, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """As in train_dreambooth_lora_sd3.py, which preconditions outputs unless told otherwise."""
    c, _, pooled, _ = pipe.encode_prompt(PROMPTS, None, None, do_classifier_free_guidance=False)
    fresh = type(pipe.scheduler).from_config(pipe.scheduler.config)
    near = (fresh.timesteps - t[:, None]).abs()
    assert near.amin(1).max() < 1e-3
    sigma = fresh.sigmas[near.argmin(1)][:, None, None, None]
    z_t = (1 - sigma) * z + sigma * noise
    out = pipe.transformer(z_t, c, pooled, t, return_dict=False)[0]
    return F.mse_loss(out * -sigma + z_t, z)


def error_of_flux(pipe: Any, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """As in train_dreambooth_lora_flux.py."""
    c, pooled, words = pipe.encode_prompt(PROMPTS, None)
    sigma = (t / 1000)[:, None, None, None]
    n, _, height, width = z.shape
    out = pipe.transformer(
        packed(pipe, (1 - sigma) * z + sigma * noise),
        timestep=t / 1000,
        guidance=torch.full((n,), 3.5),
        pooled_projections=pooled,
        encoder_hidden_states=c,
        txt_ids=words,
        img_ids=pipe._prepare_latent_image_ids(n, height // 2, width // 2, "cpu", z.dtype),
        return_dict=False,
    )[0]
    return F.mse_loss(pipe._unpack_latents(out, 8 * height, 8 * width, 8), noise - z)


def error_of_flux2(pipe: Any, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """As in train_dreambooth_lora_flux2_klein.py."""
    c, words = pipe.encode_prompt(PROMPTS)
    sigma = (t / 1000)[:, None, None, None]
    places = pipe._prepare_latent_ids(z)
    out = pipe.transformer(
        pipe._pack_latents((1 - sigma) * z + sigma * noise),
        timestep=t / 1000,
        guidance=None,
        encoder_hidden_states=c,
        txt_ids=words,
        img_ids=places,
        return_dict=False,
    )[0]
    return F.mse_loss(pipe._unpack_latents_with_ids(out, places), noise - z)


def error_of_qwen(pipe: Any, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """As in train_dreambooth_lora_qwen_image.py."""
    c, own = pipe.encode_prompt(PROMPTS)
    sigma = (t / 1000)[:, None, None, None]
    n, _, height, width = z.shape
    out = pipe.transformer(
        packed(pipe, (1 - sigma) * z + sigma * noise),
        c,
        own,
        t / 1000,
        [[(1, height // 2, width // 2)]] * n,
        return_dict=False,
    )[0]
    return F.mse_loss(pipe._unpack_latents(out, 8 * height, 8 * width, 8)[:, :, 0], noise - z)


def error_of_z_image(pipe: Any, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """As in train_dreambooth_lora_z_image.py."""
    c, _ = pipe.encode_prompt(list(PROMPTS), do_classifier_free_guidance=False)
    sigma = (t / 1000)[:, None, None, None]
    z_t = ((1 - sigma) * z + sigma * noise)[:, :, None]
    out = pipe.transformer(list(z_t.unbind()), (1000 - t) / 1000, c, return_dict=False)[0]
    return F.mse_loss(-torch.stack(out)[:, :, 0], noise - z)


ERRORS = {
    "Flux2KleinPipeline": error_of_flux2,
    "QwenImagePipeline": error_of_qwen,
    "ZImagePipeline": error_of_z_image,
    "FluxPipeline": error_of_flux,
    "StableDiffusionPipeline": error_of_stable_diffusion,
    "StableDiffusionXLPipeline": error_of_sdxl,
    "StableDiffusion3Pipeline": error_of_sd3,
}


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[LDM]:
    """The models that attacks train, as they are made."""
    made: list[LDM] = []

    def spy(theta: LDM, *rest: Any, **more: Any) -> Any:
        made.append(theta)
        return sampler(theta, *rest, **more)

    monkeypatch.setattr("cloakwork.finetuning.personalize.sampler", spy)
    return made


def test_a_kept_lora_loads_in_its_pipeline(
    model: LDM, folder: Path, photos: Photos, trained: list[LDM], tmp_path: Path
) -> None:
    keep = RunState(keep_model=tmp_path)
    run("lora", photos, model, keep, lr=1e-1, rank=3, prior_weight=0, loader=Preprocessing())
    pipe = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipe.load_lora_weights(tmp_path)
    words = "a photo of sks person"
    learned = export.pipeline(trained[0])
    for ours, theirs in zip(embedded(learned, words), embedded(pipe, words), strict=True):
        assert far(ours, theirs) < 1e-4
    ours, theirs = drawn(learned, words), drawn(pipe, words)
    assert far(ours, theirs) < 1e-4
    assert far(drawn(export.pipeline(model), words), ours) > 1e-2


def embedded(pipe: Any, words: str) -> list[Tensor]:
    """Return all that a pipeline makes of words."""
    with torch.no_grad():
        others = ["prompt_2", "prompt_3"][: len([n for n in pipe.components if "tokenizer_" in n])]
        if type(pipe) is diffusers.StableDiffusionPipeline:
            said = pipe.encode_prompt(words, "cpu", 1, do_classifier_free_guidance=False)
        else:
            said = pipe.encode_prompt(words, **dict.fromkeys(others, words))
    parts = [t for part in said for t in (part if isinstance(part, list) else [part])]
    return [t.float() for t in parts if t is not None and t.float().norm() > 0]


def drawn(pipe: Any, words: str) -> Tensor:
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        prompt=words,
        num_inference_steps=2,
        guidance_scale=3.0,
        generator=generator(1),
        output_type="pt",
        **square(pipe),
    ).images


def test_a_kept_dreambooth_model_is_a_model_of_its_family(
    model: LDM, photos: Photos, tmp_path: Path
) -> None:
    keep = RunState(keep_model=tmp_path / "model")
    got = run("dreambooth", photos, model, keep, lr=1e-2, prior_weight=0)
    kept = loading.load(str(tmp_path / "model"), "cpu")
    assert kept.family is model.family and kept.weights != model.weights
    seed = draw_seed(generator(1))
    assert far(sampler(kept, ATTACKED, LEAN["sampling"], seed)(2), got) < 1e-5
    assert far(sampler(model, ATTACKED, LEAN["sampling"], seed)(2), got) > 1e-3


@compared
def test_edits_are_the_pipelines(model: LDM, pipe: Any, x: Images) -> None:
    """The same latents, the same noise, the last half of the steps."""
    cfg = sdedit.Config(strengths=(0.5,), steps=4, guidance=4.0, scheduler="euler")
    ours = sdedit.attack(list(x), model, cfg, PROMPTS[:1], rng=generator(2), state=RunState())
    with torch.no_grad():
        z = model.encode(x)
    how: dict[str, Any] = {"num_inference_steps": 4, "output_type": "pt", **square(pipe)}
    how |= {"prompt": [PROMPTS[0]] * 2, **guided(pipe, 4.0, "", 2)}
    if is_of(pipe, "Flux2", "ZImage"):
        theirs = pipe(**how, **half_way(pipe, z)).images
    else:
        image_to_image = diffusers.AutoPipelineForImage2Image.from_pipe(pipe)
        image_to_image.set_progress_bar_config(disable=True)
        theirs = image_to_image(image=z, strength=0.5, generator=generator(2), **how).images
    assert far(ours, theirs) < 1e-4


def half_way(pipe: Any, z: Tensor) -> dict[str, Any]:
    """How a pipeline begins in the middle of four steps that has no image to image of latents."""
    noise, sigmas = torch.randn(z.shape, generator=generator(2)), [0.5, 0.25]
    places = z[0, 0].numel()
    mu = pipeline_flux2_klein.compute_empirical_mu(places, 4) if is_of(pipe, "Flux2") else None
    pipe.scheduler.set_timesteps(sigmas=sigmas, mu=mu)
    sigma = pipe.scheduler.sigmas[0]
    return {"latents": (1 - sigma) * z + sigma * noise, "sigmas": sigmas}


def test_inpainting_keeps_what_is_known(model: LDM, x: Images) -> None:
    cfg = inpaint.Config(steps=2, scheduler="euler")
    got = inpaint.attack(list(x), model, cfg, PROMPTS[:1], rng=generator(2), state=RunState())
    changed = (got - x).abs().amax(1) > 1e-6
    assert changed[:, 16:48, 16:48].any() and not changed[:, :8].any()


def protect(name: str, photo: Tensor, model: LDM, state: RunState, **more: Any) -> Tensor:
    module = registry.load("protections", name)
    short = {k: v for k, v in SHORT.items() if hasattr(module.Config(), k)}
    config = replace(module.PRESETS["tiny"], **short, **more, budget=8)
    (got,) = module.protect([photo], [model], config, clean=None, rng=generator(0), state=state)
    return got


# all that look at a model, but for one that asks for a cross-attention
PROTECTIONS = {name for name, _ in registry.listing("protections")} - {"none", "noise", "caat"}


@pytest.mark.parametrize("name", sorted(PROTECTIONS))
def test_photos_are_protected(name: str, model: LDM, photos: Photos) -> None:
    state = RunState()
    change = (protect(name, photos[0], model, state) - photos[0]).abs().max() * 255
    assert 0.5 < change < 8.01 and state.dead_steps == 0


def test_a_cross_attention_is_asked_for_in_a_sentence(flowing: LDM, photos: Photos) -> None:
    """This transformer's `attn2` is a second self-attention."""
    with pytest.raises(UserError, match=r"caat learns keys and values .* which '.*' has not"):
        protect("caat", photos[0], flowing, RunState())


def test_what_guidance_leads_away_from_is_part_of_the_weights(
    model: LDM, folder: Path, tmp_path: Path
) -> None:
    index = json.loads((folder / "model_index.json").read_text())
    if ZEROS not in index:
        return
    assert model.zero_negative and not model.unconditional("").hidden.any()
    shutil.copytree(folder, tmp_path / "words")
    (tmp_path / "words/model_index.json").write_text(json.dumps({**index, ZEROS: False}))
    words = loading.load(str(tmp_path / "words"), "cpu")
    assert words.weights != model.weights and words.unconditional("").hidden.any()


def test_new_words_are_for_models_with_one_clip(model: LDM, photos: Photos) -> None:
    for name in ("textual_inversion", "custom_diffusion"):
        with pytest.raises(UserError, match=r"is .*, which .*\. Take lora or dreambooth"):
            run(name, photos, model)


@pytest.fixture(scope="module")
def flowing(tmp_path_factory: pytest.TempPathFactory) -> LDM:
    return loading.load(
        str(small_families.save("sd3", of_all_workers(tmp_path_factory) / "small-sd3")), "cpu"
    )


def test_a_schedule_of_noise_is_not_for_models_that_match_flows(flowing: LDM) -> None:
    same = [
        flowing.sample(PROMPTS[:1], 1, generator(0), steps=2, scheduler=name)
        for name in ("ddim", "euler")
    ]
    assert torch.equal(*same)
    with pytest.raises(UserError, match="scheduler 'dpm\\+\\+' is for models that predict noise"):
        flowing.sample(PROMPTS[:1], 1, generator(0), steps=2, scheduler="dpm++")


@pytest.mark.parametrize("name", ["aspl", "fsmg"])
def test_a_target_is_refused_before_anything_is_learned(
    name: str, flowing: LDM, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LDM, "sample", None)  # no class pictures
    with pytest.raises(UserError, match="Leave the target out"):
        protect(name, photos[0], flowing, RunState(), target="pattern")


def test_flows_are_learned_at_logit_normal_timesteps_under_the_shift(flowing: LDM) -> None:
    """Half of the shares of the schedule lie above a half, which a shift of 3 moves to .75."""
    t = flowing.timesteps(4000, generator(0)) / 1000
    assert abs((t > 0.75).float().mean() - 0.5) < 0.03
    assert abs((t > 3 * 0.731 / (1 + 2 * 0.731)).float().mean() - 0.159) < 0.02  # a deviation


def test_stable_diffusion_3_without_its_t5(flowing: LDM, tmp_path: Path) -> None:
    shutil.copytree(flowing.name, tmp_path / "lean")
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(tmp_path / "lean" / part)
    path = tmp_path / "lean/model_index.json"
    index = json.loads(path.read_text())
    index["text_encoder_3"] = index["tokenizer_3"] = [None, None]
    path.write_text(json.dumps(index))
    model = loading.load(str(tmp_path / "lean"), "cpu")
    pipe = diffusers.DiffusionPipeline.from_pretrained(
        tmp_path / "lean", text_encoder_3=None, tokenizer_3=None
    )
    text, (hidden, _, pooled, _) = model.embed(PROMPTS[:1]), embedded(pipe, PROMPTS[0])
    assert text.hidden.shape[1] == hidden.shape[1] - 255  # one of T5's zeros stands for all
    z = torch.randn(1, 8, 8, 8, generator=generator(0)).requires_grad_()
    moments = torch.tensor([700.0])
    ours = model.predict(z, moments, text)
    (of_ours,) = torch.autograd.grad(ours.square().sum(), z)
    theirs = pipe.transformer(z, hidden, pooled, moments).sample
    (of_theirs,) = torch.autograd.grad(theirs.square().sum(), z)
    assert far(ours, theirs) < 1e-5 and far(of_ours, of_theirs) < 1e-5
    with_t5 = flowing.predict(z, moments, flowing.embed(PROMPTS[:1]))
    assert far(with_t5, theirs) > 1e-3


@pytest.mark.parametrize("name", ["schnell", "klein"])
def test_a_distilled_model_takes_no_guidance(name: str, tmp_path: Path) -> None:
    folder = small_families.save(name, tmp_path / name)
    model, pipe = (
        loading.load(str(folder), "cpu"),
        diffusers.DiffusionPipeline.from_pretrained(folder),
    )
    pipe.set_progress_bar_config(disable=True)
    side = model.size // model.scale
    noise = torch.randn(2, latents.channels(model.vae), side, side, generator=generator(5))
    how: dict[str, Any] = {"num_inference_steps": 3, "output_type": "pt", **square(pipe)}
    theirs = pipe(prompt=PROMPTS, latents=packed(pipe, noise), **how).images
    for guidance in (1, 7.5):
        ours = model.sample(PROMPTS, 1, generator(5), steps=3, guidance=guidance)
        assert far(ours, theirs) < 1e-4


def test_klein_says_that_it_is_distilled(tmp_path: Path) -> None:
    """The same parts, another setting of the pipeline; a kept model says it too."""
    base, distilled = (
        loading.load(str(small_families.save(name, tmp_path / name)), "cpu")
        for name in ("flux2", "klein")
    )
    assert base.weights != distilled.weights
    assert base.unconditional("") is not None and distilled.unconditional("blurry") is None
    assert (
        export.pipeline(distilled).config[DISTILLED] and not export.pipeline(base).config[DISTILLED]
    )


@compared
def test_a_prompt_is_embedded_as_if_alone(model: LDM) -> None:
    """However long others are; padding of the shorter one is nothing that a denoiser sees."""
    words = ["cat", "a photo of a cat on a red sofa"]
    both, alone = model.embed(words), replace(model, _embedded={}).embed(words[:1])
    assert far(both[:1].hidden, alone.hidden) < 1e-6
    side = model.size // model.scale
    z = torch.randn(2, latents.channels(model.vae), side, side, generator=generator(1))
    t = torch.tensor([500.0, 200.0])
    with torch.no_grad():
        together, single = model.predict(z, t, both), model.predict(z[:1], t[:1], alone)
    assert far(together[:1], single) < 1e-5


def test_a_denoiser_with_fewer_digits_computes_the_same(folder: Path, photos: Photos) -> None:
    """Under autocast, which would cast its weights at every call; what learns has all digits."""
    model = loading.load(str(folder), "cpu", "bfloat16")
    device = torch.device("cpu")
    narrow = replace(
        model,
        denoiser=copied_to(device, model.denoiser, torch.bfloat16),
        whole=model.denoiser,
        _embedded={},
    )
    sizes = [sum(p.nbytes for p in m.denoiser.parameters()) for m in (narrow, model)]
    assert sizes[0] < 0.6 * sizes[1]
    x = preprocess(photos[:2], model.size)
    assert torch.equal(*(m.loss(x, m.embed(PROMPTS), generator(3)) for m in (narrow, model)))
    assert torch.equal(*(m.sample(PROMPTS, 1, generator(3), steps=2) for m in (narrow, model)))
    for name in ("lora", "dreambooth"):
        how: dict[str, Any] = {"prior_weight": 0, "lr": 1e-2}
        assert torch.equal(*(run(name, photos, m, **how) for m in (narrow, model)))
    whole = zip(narrow.copy().denoiser.parameters(), model.denoiser.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in whole)
