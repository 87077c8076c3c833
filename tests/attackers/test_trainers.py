"""The attackers that train: what learns, what stays, what they leave behind. Editors have tests of
their own."""

from __future__ import annotations

import math
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.attacks import LEAN, PROMPTS, lean, run
from helpers.reference import lean_passes, pass_seconds
from PIL import Image
from safetensors.torch import load_file

from cloakwork import registry, specs
from cloakwork.attackers import dreambooth
from cloakwork.errors import UserError
from cloakwork.files import ASSETS
from cloakwork.finetuning import training
from cloakwork.finetuning.batches import bucket, is_random, latent_batches
from cloakwork.finetuning.cdl import CDL
from cloakwork.finetuning.export import CUSTOM, LORA, keep_pipeline
from cloakwork.finetuning.prior import class_pictures, prior_dataset
from cloakwork.finetuning.prompts import with_token
from cloakwork.finetuning.sampling import draw_seed, sampler
from cloakwork.finetuning.training import Training, weighted_error
from cloakwork.finetuning.weights import weights_of
from cloakwork.models import loading
from cloakwork.models.ldm import LDM
from cloakwork.models.sampling import Sampling
from cloakwork.photos.preprocessing import Preprocessing
from cloakwork.photos.sheets import write_grid
from cloakwork.state import RunState
from cloakwork.types import Images, Photos
from cloakwork.workflows.protect_surrogates import load_surrogates

TRAINERS = ["dreambooth", "lora", "textual_inversion", "custom_diffusion"]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[LDM]:
    """The models that attacks train, as they are made."""
    made: list[LDM] = []
    original = sampler

    def spy(theta: LDM, *rest: Any, **more: Any) -> Any:
        made.append(theta)
        return original(theta, *rest, **more)

    monkeypatch.setattr("cloakwork.finetuning.personalize.sampler", spy)
    return made


def plain(name: str) -> str:
    """A weight's name in the model that nothing was added to."""
    return name.replace(".base_layer", "").replace("token_embedding.known", "token_embedding")


def changed(theta: LDM, victim: LDM) -> set[str]:
    """Names of the weights that are new or no longer the victim's."""
    before = weights_of(victim)
    return {
        name
        for name, p in weights_of(theta).items()
        if plain(name) not in before or not torch.equal(p, before[plain(name)])
    }


def error_on(model: LDM, photos: Photos, prompt: str) -> float:
    """Denoising error at the same timesteps and noise, whoever is asked."""
    latents = latent_batches(model, photos, Preprocessing(), len(photos), torch.Generator())(0)
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        return (
            torch.stack(
                [
                    model.latent_loss(torch.stack(latents), model.embed([prompt]), rng)
                    for _ in range(6)
                ]
            )
            .mean()
            .item()
        )


@pytest.mark.parametrize("name", TRAINERS)
def test_learns_the_photos(name: str, photos: Photos, tiny: LDM, trained: list[LDM]) -> None:
    state = RunState()
    got = run(name, photos, tiny, state, steps=20, batch=3, prior_weight=0.0)
    written = with_token(
        PROMPTS[0],
        " ".join(t for t in trained[0].tokenizer.get_added_vocab() if "subject" in t) or "sks",
    )
    start = error_on(tiny, photos, PROMPTS[0])
    assert error_on(trained[0], photos, written) < 0.98 * start
    assert len(state.trace) == 20
    assert got.shape == (4, 3, 128, 128) and got.min() >= 0 and got.max() <= 1
    assert not any(
        p.requires_grad
        for part in (trained[0].denoiser, trained[0].text_encoder)
        for p in part.parameters()
    )


@pytest.mark.parametrize("name", TRAINERS)
def test_same_seed_same_bytes_and_the_victim_stays(name: str, photos: Photos, small: LDM) -> None:
    before = {k: p.clone() for k, p in weights_of(small).items()}
    words = len(small.tokenizer)
    first, again, other = (run(name, photos, small, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert weights_of(small).keys() == before.keys() and len(small.tokenizer) == words
    assert all(torch.equal(p, before[k]) for k, p in weights_of(small).items())


@pytest.mark.parametrize("name", TRAINERS)
def test_noise_is_the_same_whatever_was_learned(name: str, photos: Photos, small: LDM) -> None:
    """At rate 0 nothing is learned, so all that differs between two sets of photos is what was
    drawn for them."""
    one, two = (
        run(name, some, small, lr=0.0, loader=Preprocessing(flip=0.5))
        for some in (photos[:1], photos[1:])
    )
    assert torch.equal(one, two)
    own = [p.replace("sks", "person") for p in PROMPTS] if name == "textual_inversion" else PROMPTS
    if name in ("dreambooth", "lora"):
        seed = draw_seed(torch.Generator().manual_seed(1))
        assert torch.allclose(one, sampler(small, own, LEAN["sampling"], seed)(2), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "preset"),
    [(n, "tiny") for n in TRAINERS] + [("dreambooth", "transformed"), ("lora", "service")],
)
def test_interrupted_and_resumed_is_the_same(
    name: str, preset: str, photos: Photos, small: LDM, tmp_path: Path
) -> None:
    def stop(label: str, done: int, total: int) -> None:
        if (label, done) == ("training", 3):
            raise KeyboardInterrupt

    begun: list[int] = []
    whole = RunState()
    result = run(name, photos, small, whole, preset=preset, steps=4)
    with pytest.raises(KeyboardInterrupt):
        run(
            name,
            photos,
            small,
            RunState(tmp_path / "s", "training", stop, checkpoint_seconds=0),
            preset=preset,
            steps=4,
        )
    state = RunState(
        tmp_path / "s",
        "training",
        lambda label, done, total: begun.append(done) if label == "training" else None,
        checkpoint_seconds=0,
    )
    assert torch.equal(result, run(name, photos, small, state, preset=preset, steps=4))
    assert begun[0] == 3 and state.trace == whole.trace


def test_what_dreambooth_trains(photos: Photos, small: LDM, trained: list[LDM]) -> None:
    vae = {k: v.clone() for k, v in small.vae.state_dict().items()}
    run("dreambooth", photos, small, text_encoder=False)
    run("dreambooth", photos, small)
    unet = {name for name in weights_of(small) if name.startswith("unet.")}
    assert changed(trained[0], small) == unet
    assert unet < changed(trained[1], small)
    assert all(torch.equal(v, vae[k]) for k, v in trained[1].vae.state_dict().items())


@pytest.mark.parametrize("text_encoder", [False, True])
def test_lora_trains_its_layers_alone(
    text_encoder: bool, photos: Photos, small: LDM, trained: list[LDM]
) -> None:
    run("lora", photos, small, text_encoder=text_encoder)
    names = changed(trained[0], small)
    assert names == {name for name in weights_of(trained[0]) if ".lora_" in name}
    assert any(name.startswith("text_encoder.") for name in names) == text_encoder
    second = [p for name, p in weights_of(trained[0]).items() if ".lora_B." in name]
    assert all(p.any() for p in second), "a layer stood still"


def test_textual_inversion_trains_the_new_words_alone(
    photos: Photos, small: LDM, trained: list[LDM]
) -> None:
    run("textual_inversion", photos, small, vectors=3)
    assert changed(trained[0], small) == {"text_encoder.embeddings.token_embedding.learned"}
    learned = trained[0].text_encoder.get_input_embeddings().learned
    assert learned.shape == (3, 32) and learned.std(0).max() > 0


def test_custom_diffusion_trains_keys_values_and_the_new_word(
    photos: Photos, small: LDM, trained: list[LDM]
) -> None:
    run("custom_diffusion", photos, small)
    names = changed(trained[0], small) - {"text_encoder.embeddings.token_embedding.learned"}
    assert names == {
        n for n in weights_of(small) if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))
    }


def pipeline() -> Any:
    from diffusers import StableDiffusionPipeline

    folder = ASSETS / "tiny"
    return StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, dtype=torch.float32)


def denoised(unet: Any, c: torch.Tensor) -> torch.Tensor:
    z = torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return unet(z, torch.tensor([300, 700]), encoder_hidden_states=c.expand(2, -1, -1)).sample


def test_a_kept_dreambooth_model_draws_the_same(photos: Photos, small: LDM, tmp_path: Path) -> None:
    got = run("dreambooth", photos, small, RunState(keep_model=tmp_path / "model"), lr=1e-3)
    kept = loading.load(str(tmp_path / "model"), "cpu")
    seed = draw_seed(torch.Generator().manual_seed(1))
    assert torch.equal(sampler(kept, PROMPTS, LEAN["sampling"], seed)(2), got)
    assert not torch.equal(sampler(small, PROMPTS, LEAN["sampling"], seed)(2), got)
    assert (tmp_path / "model/tokenizer/vocab.json").is_file() and [
        p.name for p in tmp_path.iterdir()
    ] == ["model"]


@pytest.mark.parametrize("layers", ["attention", "all"])
def test_a_kept_lora_loads_in_diffusers(
    layers: str, photos: Photos, tiny: LDM, trained: list[LDM], tmp_path: Path
) -> None:
    run("lora", photos, tiny, RunState(keep_model=tmp_path), lr=1e-2, rank=3, layers=layers)
    pipe = pipeline()
    parts = {".".join(name.split(".")[:2]) for name in load_file(tmp_path / LORA)}
    assert parts == {
        "unet.down_blocks",
        "unet.mid_block",
        "unet.up_blocks",
        "text_encoder.text_model",
    }
    before = denoised(pipe.unet, tiny.embed(["a photo of <sks> person"]).hidden)
    pipe.load_lora_weights(tmp_path)
    c, _ = pipe.encode_prompt("a photo of <sks> person", "cpu", 1, False)
    assert torch.allclose(c, trained[0].embed(PROMPTS[:1]).hidden, atol=1e-5)
    assert not torch.allclose(c, tiny.embed(PROMPTS[:1]).hidden, atol=1e-3)
    theirs, ours = denoised(pipe.unet, c), denoised(trained[0].denoiser, c)
    assert torch.allclose(theirs, ours, atol=1e-4) and not torch.allclose(before, ours, atol=1e-2)


@pytest.mark.parametrize("vectors", [1, 3])
def test_kept_words_load_in_diffusers(
    vectors: int, photos: Photos, tiny: LDM, trained: list[LDM], tmp_path: Path
) -> None:
    run("textual_inversion", photos, tiny, RunState(keep_model=tmp_path), vectors=vectors)
    pipe = pipeline()
    pipe.load_textual_inversion(tmp_path)
    c, _ = pipe.encode_prompt("a photo of <subject> person", "cpu", 1, False)
    words = " ".join(["<subject>", "<subject>_1", "<subject>_2"][:vectors])
    assert torch.allclose(c, trained[0].embed([f"a photo of {words} person"]).hidden, atol=1e-5)
    assert not torch.allclose(
        c, tiny.embed([" ".join(["a photo of", *["person"] * vectors, "person"])]).hidden, atol=1e-3
    )


def test_a_kept_custom_diffusion_loads_in_diffusers(
    photos: Photos, tiny: LDM, trained: list[LDM], tmp_path: Path
) -> None:
    run("custom_diffusion", photos, tiny, RunState(keep_model=tmp_path), lr=1e-2)
    pipe = pipeline()
    before = denoised(pipe.unet, tiny.embed(PROMPTS[:1]).hidden)
    pipe.unet.load_attn_procs(tmp_path, weight_name=CUSTOM, _pipeline=pipe)
    pipe.load_textual_inversion(tmp_path)
    c, _ = pipe.encode_prompt("a photo of <subject> person", "cpu", 1, False)
    assert torch.allclose(c, trained[0].embed(["a photo of <subject> person"]).hidden, atol=1e-5)
    theirs, ours = denoised(pipe.unet, c), denoised(trained[0].denoiser, c)
    assert torch.allclose(theirs, ours, atol=1e-4) and not torch.allclose(before, ours, atol=1e-2)


def test_only_as_many_class_pictures_as_are_used(
    photos: Photos, small: LDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def count(victim: LDM, prompt: str, n: int, **rest: Any) -> Images:
        asked.append(n)
        assert rest["steps"] == 7
        return torch.rand(n, 3, 128, 128)

    monkeypatch.setattr("cloakwork.finetuning.prior.class_pictures", count)
    for steps, batch, most, weight in (
        (2, 2, 200, 1.0),
        (3, 2, 5, 1.0),
        (3, 2, 5, 0.0),
        (3, 2, 0, 1.0),
    ):
        training = Training(batch=batch, prior_weight=weight)
        prior = prior_dataset(
            small, "a photo of person", most, training, steps, RunState(), sampling_steps=7
        )
        assert (prior is None) == (most == 0 or weight == 0)
    assert asked == [4, 5]


def test_latents_are_encoded_once_unless_something_is_drawn(
    photos: Photos, small: LDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    original = LDM.encode

    def spy(self: LDM, x: Images, rng: torch.Generator | None = None) -> torch.Tensor:
        calls.append(len(x))
        return original(self, x, rng)

    monkeypatch.setattr(LDM, "encode", spy)
    for model, loader, expected in (
        (small, Preprocessing(jpeg_quality=(90, 90)), [3]),
        (small, Preprocessing(jpeg_quality=(60, 90)), [2] * 3),
        (replace(small, sample_posterior=True), Preprocessing(), [2] * 3),
    ):
        calls.clear()
        feed = latent_batches(model, photos, loader, 2, torch.Generator().manual_seed(0))
        seen = [z for step in range(3) for z in feed(step)]
        assert calls == expected
        assert torch.equal(seen[0], seen[3]) == (expected == [3]), (
            "the first photo comes again in the second step"
        )


@pytest.mark.parametrize(
    ("loader", "random"),
    [
        (Preprocessing(), False),
        (Preprocessing(crop="slide"), True),
        (Preprocessing(zoom=0.9), True),
        (Preprocessing(flip=0.5), True),
        (Preprocessing(flip=1), False),
        (Preprocessing(blur=3), True),
        (Preprocessing(blur=3, blur_sigma=(1, 1)), False),
        (Preprocessing(jpeg_quality=(90, 90)), False),
        (Preprocessing(jpeg_quality=(80, 90)), True),
    ],
)
def test_which_loaders_draw_something(loader: Preprocessing, random: bool) -> None:
    assert is_random(loader) == random


def test_gradient_checkpointing_changes_no_byte(photos: Photos, small: LDM) -> None:
    assert torch.equal(
        run("dreambooth", photos, small),
        run("dreambooth", photos, small, gradient_checkpointing=True),
    )
    assert not small.denoiser.is_gradient_checkpointing


def test_pictures_along_the_training_change_nothing(photos: Photos, small: LDM) -> None:
    seen: dict[int, Images] = {}
    state = RunState(sample_every=2, watch=seen.__setitem__)
    assert torch.equal(
        run("lora", photos, small, state, steps=4), run("lora", photos, small, steps=4)
    )
    assert list(seen) == [2, 4] and seen[2].shape == (8, 3, 128, 128)
    assert not torch.equal(seen[2], seen[4])


def test_oblong_photos_keep_their_shape_in_buckets(small: LDM) -> None:
    ramp = torch.linspace(0, 1, 300)[None, None].expand(3, 120, -1)
    wide = bucket(ramp, 128, 32)
    assert wide.shape == (3, 64, 192)
    assert bucket(ramp.mT, 128, 32).shape == wide.mT.shape
    assert bucket(torch.rand(3, 100, 101), 128, 32).shape == (3, 128, 128)
    assert wide[0, 0, 0] < 0.15 and wide[0, 0, -1] > 0.85 and (wide[0, 0].diff() >= 0).all()
    feed = latent_batches(
        small, [ramp, torch.rand(3, 128, 128)], Preprocessing(), 2, torch.Generator(), buckets=True
    )
    assert [z.shape[1:] for z in feed(0)] == [(wide.shape[1] // 8, wide.shape[2] // 8), (16, 16)]


def test_shapes_are_weighed_alike(small: LDM) -> None:
    """Latents of several shapes: the sum is that of each alone, and one shape alone gives the
    ordinary loss."""
    z = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    c = small.embed([PROMPTS[0]])

    def rng() -> torch.Generator:
        return torch.Generator().manual_seed(4)

    with torch.no_grad():
        together = weighted_error(small, list(z), [PROMPTS[0]] * 3, [1 / 3] * 3, rng())
        assert together.item() == pytest.approx(small.latent_loss(z, c, rng()).item(), rel=1e-4)
        narrow, r = z[1][:, :8], rng()
        mixed = weighted_error(
            small, [z[0], narrow, z[2]], [PROMPTS[0]] * 3, [1.0, 0.5, 1.0], rng()
        )
        apart = 2 * small.latent_loss(z[[0, 2]], c, r) + 0.5 * small.latent_loss(narrow[None], c, r)
    assert mixed.item() == pytest.approx(apart.item(), rel=1e-4)


@pytest.mark.parametrize(
    ("prompt", "token", "expected"),
    [
        ("a photo of sks person", "t@t", "a photo of t@t person"),
        ("sks, asks <sks> sks2", "<a> <a>_1", "<a> <a>_1, asks <sks> sks2"),
        ("a cat", "x", "a cat"),
        ("sks sks", r"\1", r"\1 \1"),
    ],
)
def test_the_attackers_word_for_the_subject(prompt: str, token: str, expected: str) -> None:
    assert with_token(prompt, token) == expected


def test_another_token_is_learned_and_asked_for(
    photos: Photos, small: LDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()
    original = LDM.embed
    monkeypatch.setattr(
        LDM, "embed", lambda self, prompts: asked.update(prompts) or original(self, prompts)
    )
    run("dreambooth", photos, small, token="zwx", prior_weight=0.0)
    assert asked == {"a photo of zwx person", "a portrait of zwx person", ""}


FAULTS = [
    ({"token": "person"}, "The token 'person' is a word of this model already; choose another."),
    (
        {"initial_word": "unpronounceable"},
        r"The initial word 'unpronounceable' is \d+ tokens to this model; choose a word that is "
        "one.",
    ),
    (
        {"instance_prompt": "a photo of a person"},
        "The instance prompt 'a photo of a person' has no 'sks' in it; put it where",
    ),
]


@pytest.mark.parametrize(("more", "sentence"), FAULTS)
@pytest.mark.parametrize("name", ["textual_inversion", "custom_diffusion"])
def test_words_that_cannot_be_learned(
    name: str, more: dict[str, Any], sentence: str, photos: Photos, small: LDM
) -> None:
    with pytest.raises(UserError, match=sentence):
        run(name, photos, small, **{"token": "<new>", **more})


@pytest.mark.parametrize("name", TRAINERS)
def test_all_faults_are_reported_before_any_work(
    name: str, photos: Photos, small: LDM, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    config = lean(name, steps=0, batch=0, sampling=Sampling(n=0))
    with pytest.raises(UserError) as error:
        state = RunState(keep_model=tmp_path)
        registry.load("attackers", name).attack(
            [], small, config, [], rng=torch.Generator(), state=state
        )
    assert error.value.sentences == (
        "There are no photos to learn from; give one at least.",
        'There are no prompts; give one at least, such as "a photo of sks person".',
        *(
            f"The field {field} is 0; allowed are numbers of 1 or more."
            for field in ("steps", "batch", "sampling.n")
        ),
        f"{tmp_path} exists already; name a new folder for the model.",
    )


WRONG = [
    ({"lr": -1.0}, "The field lr is -1.0; allowed are numbers of 0 or more."),
    ({"lr": math.nan}, "The field lr is nan; allowed are numbers of 0 or more."),
    ({"rank": 0}, "The field rank is 0; allowed are numbers of 1 or more."),
    ({"class_images": -3}, "The field class_images is -3; allowed are numbers of 0 or more."),
    (
        {"prior_weight": math.inf},
        "The field prior_weight is inf; allowed are numbers of 0 or more.",
    ),
    ({"sampling": Sampling(steps=0)}, "0 denoising steps were asked for; allowed are 1 to 1000"),
    ({"sampling": Sampling(scheduler="foo")}, "There is no scheduler 'foo'"),
]


@pytest.mark.parametrize(("more", "says"), WRONG)
def test_wrong_settings_are_reported_before_any_work(
    more: dict[str, Any], says: str, photos: Photos, small: LDM
) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(says)}"):
        run("lora", photos, small, **more)


@pytest.mark.parametrize("name", TRAINERS)
@pytest.mark.parametrize(
    "on", [(), ("train",), ("suffix",), ("negative",), ("train", "suffix", "negative")]
)
def test_each_part_of_decoupling_changes_its_own_words(
    name: str, on: tuple[str, ...], photos: Photos, small: LDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    words: dict[str, Any] = {"learned": set()}
    sample, errors, pictures = LDM.sample, weighted_error, class_pictures

    def spy_sample(self: LDM, prompts: list[str], *rest: Any, **how: Any) -> Images:
        words["asked"], words["negative"] = list(prompts), how["negative"]
        return sample(self, prompts, *rest, **how)

    def spy_errors(
        ldm: LDM, latents: list[torch.Tensor], prompts: list[str], *rest: Any
    ) -> torch.Tensor:
        words["learned"] |= set(prompts)
        return errors(ldm, latents, prompts, *rest)

    def spy_pictures(ldm: LDM, prompt: str, *rest: Any, **how: Any) -> Images:
        words["class pictures"] = prompt
        with monkeypatch.context() as m:
            m.setattr(LDM, "sample", sample)
            return pictures(ldm, prompt, *rest, **how)

    monkeypatch.setattr(LDM, "sample", spy_sample)
    monkeypatch.setattr(training, "weighted_error", spy_errors)
    monkeypatch.setattr("cloakwork.finetuning.prior.class_pictures", spy_pictures)
    run(
        name,
        photos[:2],
        small,
        cdl=CDL(**dict.fromkeys(on, True)),
        instance_prompt="a photo of sks person",
        steps=1,
    )
    noise = "bhj noisy pattern"
    assert all(p.endswith(f", without {noise}") == ("suffix" in on) for p in words["asked"])
    negative = "noisy, abstract, pattern, low quality" if "negative" in on else ""
    assert words["negative"] == negative
    class_words = "a photo of person" + f", without {noise}" * ("train" in on)
    if name != "textual_inversion":  # which has no class pictures
        assert words["class pictures"] == "a photo of person" and class_words in words["learned"]
    (instance,) = words["learned"] - {class_words}
    assert instance.endswith(f"person, {noise}" if "train" in on else "person")


def test_an_option_that_came_later_leaves_old_keys_alone() -> None:
    settings = registry.settings(dreambooth.PRESETS["tiny"])
    assert "cdl" not in settings and settings["sampling"]["guidance"] == 5
    assert registry.settings(dreambooth.PRESETS["cdl"])["cdl"]["train"] is True


def test_a_training_that_bursts(photos: Photos, small: LDM) -> None:
    with pytest.raises(
        UserError, match=r"The loss is not finite at step \d; try a smaller lr or --dtype float32."
    ):
        run("dreambooth", photos, small, lr=1e12, steps=4)


def test_gradients_are_not_taken_in_float16(photos: Photos, small: LDM) -> None:
    with pytest.raises(UserError, match="float16 is too coarse for gradients"):
        run("dreambooth", photos, replace(small, dtype=torch.float16))
    with pytest.raises(UserError, match="float16 is too coarse for gradients"):
        how = {"sample_posterior": False, "low_memory": False, "graphs": False}
        load_surrogates(specs.parse("protections", "pid"), ["tiny"], "cpu", "float16", **how)


def test_8_bit_adam_needs_a_package(
    photos: Photos, small: LDM, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes.optim", None)
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    says = "8-bit Adam needs the package bitsandbytes, which is not installed; install it or leave"
    with pytest.raises(UserError, match=says):
        run("lora", photos, small, adam8bit=True)


def test_a_grid_is_read_by_rows(tmp_path: Path) -> None:
    shades = torch.linspace(0, 1, 6)[:, None, None, None].expand(6, 3, 10, 10)
    write_grid(tmp_path / "grid.png", shades, 3)
    grid = Image.open(tmp_path / "grid.png")
    assert grid.size == (30, 20)
    assert [grid.getpixel((10 * i + 5, 10 * j + 5))[0] for j in range(2) for i in range(3)] == [
        0,
        51,
        102,
        153,
        204,
        255,
    ]


def test_a_folder_that_cannot_be_written(photos: Photos, small: LDM, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written"):
        keep_pipeline(small, tmp_path / "file" / "model")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize(
    ("name", "preset"),
    [(n, "tiny") for n in TRAINERS] + [("dreambooth", "transformed"), ("lora", "service")],
)
def test_a_lean_attacker_costs_little(name: str, preset: str, photos: Photos, tiny: LDM) -> None:
    """Hardly more than its passes through the denoiser, and no more of those than fit into two
    minutes where a PGD step of PhotoGuard's takes a third of a second."""
    module, one = registry.load("attackers", name), pass_seconds(tiny)
    config = module.PRESETS[preset]
    begun = time.process_time()
    module.attack(
        photos,
        tiny,
        config,
        PROMPTS[:1],
        rng=torch.Generator().manual_seed(0),
        state=RunState(),
    )
    took, passes = time.process_time() - begun, lean_passes(config)
    print(f"{name}:{preset}: {took:.0f} CPU s, {took / one / passes:.2f} of {passes} passes")
    assert took < 1.5 * passes * one
    assert passes < 12000
