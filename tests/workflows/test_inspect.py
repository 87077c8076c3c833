"""`cloakwork inspect`: what CLIP, encoders, the denoiser and an attacker in training make of a
protection."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from PIL import Image
from safetensors.torch import save_file

from cloakwork import cli
from cloakwork.attackers import dreambooth, sdedit
from cloakwork.errors import UserError
from cloakwork.evaluation import bottleneck, compute, statistics, training_curve
from cloakwork.evaluation.design import ThreatModel, attack_step
from cloakwork.evaluation.photo_pairs import find_subjects
from cloakwork.evaluation.steps import Workspace
from cloakwork.finetuning.cdl import CDL
from cloakwork.models import autoencoders, loading
from cloakwork.models.clip import load_clip
from cloakwork.models.ldm import LDM
from cloakwork.models.sampling import Sampling
from cloakwork.photos.preprocessing import preprocess
from cloakwork.purifiers import jpeg
from cloakwork.specs import Method
from cloakwork.types import Photos
from cloakwork.workflows import protect
from cloakwork.workflows.inspect import Watched, inspect
from cloakwork.workflows.inspect_results import conclusions

SHORT = replace(dreambooth.TINY, steps=4, batch=1, class_images=2, sampling=Sampling(n=1, steps=2))


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, sample_files: list[Path]) -> Path:
    folder = tmp_path_factory.mktemp("clean")
    for file in sample_files:
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


@pytest.fixture(scope="module")
def safe(tmp_path_factory: pytest.TempPathFactory, clean: Path) -> Path:
    """Protected by a few steps of an encoder attack."""
    from cloakwork.protections import pid

    out = tmp_path_factory.mktemp("safe")
    protect.protect(clean, out, protection="pid", config=replace(pid.PRESETS["tiny"], steps=8))
    return out


@pytest.fixture(scope="module", autouse=True)
def quick() -> Iterator[None]:
    """Fewer attacks of fewer steps and fewer draws: what is found is the same in kind."""
    short = partial(bottleneck.attack_denoiser, steps=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cloakwork.evaluation.inspection.SHARES", (0.1, 0.8))
        patch.setattr(bottleneck, "attack_denoiser", short)
        patch.setattr(statistics, "DRAWS", 50)
        yield


class TestAutoencoders:
    def test_of_the_embedded_models(self, tiny: LDM, square: Photos) -> None:
        x = torch.stack(square)
        with torch.no_grad():
            assert torch.equal(autoencoders.load("tiny").encode(x), tiny.encode(x))
            assert torch.equal(
                autoencoders.load("tiny-b").encode(x), loading.load("tiny-b", "cpu").encode(x)
            )

    def test_taesd_as_its_author_publishes_it(
        self, tmp_path: Path, square: Photos, rng: torch.Generator
    ) -> None:
        vae = AutoencoderTiny(latent_channels=16).eval()
        with torch.no_grad():
            for p in vae.parameters():
                p.copy_(0.1 * torch.randn(p.shape, generator=rng))
        for part, shift in (
            ("encoder", 0),
            ("decoder", 1),
        ):  # the decoder's layer 0 is the clamp, without weights
            numbered = {}
            for k, v in getattr(vae, part).layers.state_dict().items():
                n, _, rest = k.partition(".")
                numbered[f"{int(n) + shift}.{rest}"] = v
            save_file(numbered, tmp_path / f"taesd3_{part}.safetensors")
        found = autoencoders.load(str(tmp_path))
        x = torch.stack(square)
        with torch.no_grad():
            want = vae.encode(2 * x - 1).latents
            assert torch.equal(found.encode(x), want) and want.shape[1] == 16
            assert torch.equal(found.vae.decode(want).sample, vae.decode(want).sample)

    def test_on_its_own_and_in_a_pipeline(self, tmp_path: Path, small: LDM, square: Photos) -> None:
        x = torch.stack(square)
        small.vae.save_pretrained(tmp_path / "alone")
        small.vae.save_pretrained(tmp_path / "whole" / "vae")
        (tmp_path / "whole" / "model_index.json").write_text('{"_class_name": "AnyPipeline"}')
        alone, whole = (autoencoders.load(str(tmp_path / name)) for name in ("alone", "whole"))
        with torch.no_grad():
            assert torch.equal(alone.encode(x), small.encode(x)) and torch.equal(
                whole.encode(x), small.encode(x)
            )

    @pytest.mark.parametrize(
        ("files", "says"),
        [
            ({}, "no config.json"),
            ({"config.json": "{}"}, "Pickle files are never loaded"),
            (
                {
                    "config.json": '{"_class_name": "VQModel"}',
                    "diffusion_pytorch_model.safetensors": "",
                },
                "VQModel; allowed are",
            ),
            (
                {
                    "config.json": '{"_class_name": "AutoencoderTiny"}',
                    "diffusion_pytorch_model.safetensors": "x",
                },
                "could not be read",
            ),
        ],
    )
    def test_folders_that_hold_none(self, tmp_path: Path, files: dict[str, str], says: str) -> None:
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=says):
            autoencoders.load(str(tmp_path))

    def test_files_of_another_layout(self, tmp_path: Path) -> None:
        for part in ("encoder", "decoder"):
            save_file({"0.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / f"x_{part}.safetensors")
        with pytest.raises(UserError, match="do not hold TAESD's layers"):
            autoencoders.load(str(tmp_path))

    def test_a_typing_mistake(self) -> None:
        with pytest.raises(UserError, match="There is no autoencoder 'tiyn'"):
            autoencoders.load("tiyn")


class TestBottleneck:
    def test_change_in_shares_of_the_spread(
        self, tiny: LDM, square: Photos, rng: torch.Generator
    ) -> None:
        x = torch.stack(square)
        other = (x + 0.05 * torch.randn(x.shape, generator=rng)).clamp(0, 1)
        found = bottleneck.encoder_shift(autoencoders.load("tiny"), x, {"other": other})["other"]
        with torch.no_grad():
            z, moved = tiny.encode(x).numpy(), tiny.encode(other).numpy()
        for i in range(len(x)):  # a plain statement: numpy, photo by photo
            for values, a, b in (
                (found.pixels, x[i].numpy(), other[i].numpy()),
                (found.latents, z[i], moved[i]),
            ):
                spread = np.sqrt(np.mean([channel.var() for channel in a]))
                assert values[i] == pytest.approx(np.sqrt(((b - a) ** 2).mean()) / spread, rel=1e-4)
        assert found.amplified == pytest.approx(
            [z / x for x, z in zip(found.pixels, found.latents, strict=True)]
        )

    def test_what_did_not_move(self, tiny: LDM, square: Photos, rng: torch.Generator) -> None:
        x = torch.stack(square)
        assert bottleneck.encoder_shift(autoencoders.load("tiny"), x, {"same": x})[
            "same"
        ].amplified == [0, 0, 0]
        with torch.no_grad():
            z = tiny.encode(x)
        asked = bottleneck.denoiser_shift(tiny, tiny.embed(["a photo"]), z, {"same": z}, rng)[
            "same"
        ]
        assert asked.latents == asked.answers == [0, 0, 0] and min(asked.error) > 0

    def test_an_attack_on_the_denoiser_alone(self, tiny: LDM, square: Photos) -> None:
        c, share = tiny.embed(["a photo of a person"]), 0.4
        with torch.no_grad():
            z = tiny.encode(torch.stack(square))

        def rng(seed: int) -> torch.Generator:
            return torch.Generator().manual_seed(seed)

        attacked = bottleneck.attack_denoiser(tiny, c, z, share, rng(1), steps=12)
        scattered = bottleneck.scatter(z, share, rng(1))
        assert bottleneck.change(z, scattered) == pytest.approx([share] * 3, rel=1e-4)
        assert max(bottleneck.change(z, attacked)) <= share * 1.0001
        found = bottleneck.denoiser_shift(
            tiny, c, z, {"clean": z, "scattered": scattered, "attacked": attacked}, rng(2)
        )
        errors = {name: sum(e.error) for name, e in found.items()}
        assert errors["clean"] < errors["scattered"] < errors["attacked"]


class TestInspection:
    def test_from_the_command_line(
        self, safe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        out = tmp_path / "inside"
        (safe / "film.mov").write_bytes(b"a film")
        assert (
            cli.main(
                [
                    "inspect",
                    str(safe),
                    "-o",
                    str(out),
                    "--purifier",
                    "jpeg",
                    "--autoencoder",
                    "tiny",
                ]
            )
            == 0
        )
        (safe / "film.mov").unlink()
        said = capsys.readouterr().out
        assert "Passed over: 1 file, which is no photo that can be read here: film.mov." in said
        assert "The encoder of tiny carries the protection" in said and "an audit does" in said
        found = json.loads((out / "inspection.json").read_text())
        every = ["clean", "noise", "protected", "clean, purified", "protected, purified"]
        assert list(found["zero_shot"]) == list(found["embeddings"]) == every
        assert list(found["amplified"]["tiny"]) == every[1:] and found["training"] == {}
        moved = found["displacement"]["tiny"]
        assert list(moved) == ["96", "128"] and list(moved["96"]) == every[1:]
        assert "Displacement" in said and f"{moved['96']['protected']['mean']:.3f}" in said
        assert {"attacked by 0.1", "scattered by 0.8", *every} <= set(found["denoiser"])
        for name in ("zero-shot", "embeddings", "encoders", "denoiser"):
            assert "http://www.w3.org" in (out / f"{name}.svg").read_text()
            assert Image.open(out / f"{name}.png").width > 600
        assert not (out / "training.svg").exists()

    def test_numbers_are_those_of_the_parts(
        self, safe: Path, clean: Path, tmp_path: Path, small_name: str
    ) -> None:
        found = inspect(
            safe,
            tmp_path / "a",
            victim=small_name,
            coders=["tiny-b"],
            purifiers=[("jpeg", jpeg.Config(quality=30))],
        )
        (subject,) = find_subjects(safe)
        bench, eyes = Workspace(tmp_path / "store", "cpu"), load_clip()
        x, protected = (
            compute.photos(subject.clean, bench),
            compute.photos(subject.protected, bench),
        )
        likely = eyes.choose(protected, ["a photo of a person", "a noisy photo of a person"])[:, 0]
        assert found.zero_shot["protected"].mean == pytest.approx(likely.mean().item(), rel=1e-4)
        pure = jpeg.purify(protected, None, jpeg.Config(quality=30), rng=torch.Generator())
        moved = bottleneck.encoder_shift(
            autoencoders.load("tiny-b"), preprocess(x, 128), {"pure": preprocess(pure, 128)}
        )["pure"]
        assert found.latents["tiny-b"]["protected, purified"].mean == pytest.approx(
            np.mean(moved.latents), rel=1e-4
        )
        assert found.denoiser["clean"]["answers"].mean == 0
        assert found.amplified["tiny-b"]["protected"].mean > found.amplified["tiny-b"]["noise"].mean
        again = inspect(
            safe,
            tmp_path / "b",
            victim=small_name,
            clean=clean,
            coders=["tiny-b"],
            purifiers=[("jpeg", jpeg.Config(quality=30))],
        )
        assert again == found, "same seed, same numbers, whoever says what the originals are"
        assert (tmp_path / "a" / "encoders.svg").read_bytes() == (
            tmp_path / "b" / "encoders.svg"
        ).read_bytes()

    def test_attackers_are_watched(self, safe: Path, tmp_path: Path, small_name: str) -> None:
        watched = Watched(
            ThreatModel(Method("attackers", "dreambooth", SHORT), victim=small_name),
            every=2,
            metrics=("clip_i",),
        )
        found = inspect(
            safe,
            tmp_path / "a",
            victim=small_name,
            coders=[],
            purifiers=[("jpeg", jpeg.Config())],
            watched=watched,
        )
        attackers = ["clean", "protected", "protected, purified", "protected, purified, + CDL"]
        assert list(found.training) == ["clip_i"] and list(found.training["clip_i"]) == attackers
        for course in found.training["clip_i"].values():
            assert list(course) == [2, 4] and course[4].pictures == 4
        assert found.training["clip_i"]["clean"] != found.training["clip_i"]["protected"]
        assert (tmp_path / "a" / "training.png").is_file() and not any(
            "scores nothing" in s for s in found.sentences
        )
        blank = {
            "clip_i": {arm: {2: statistics.estimate({"one": {0: [math.nan]}})} for arm in attackers}
        }
        assert "clip_i scores nothing along the training" in " ".join(
            conclusions(replace(found, training=blank), load_clip(), "tiny")
        )

    def test_only_the_last_attacker_decouples_and_by_the_users_words(
        self, safe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_name: str
    ) -> None:
        asked, course = [], training_curve.measure_curve
        monkeypatch.setattr(
            training_curve,
            "measure_curve",
            lambda attack, *rest: asked.append(attack.config.cdl) or course(attack, *rest),
        )
        threat = ThreatModel(
            Method("attackers", "dreambooth", replace(SHORT, cdl=CDL(train=True, noise="xyz"))),
            victim=small_name,
        )
        inspect(
            safe,
            tmp_path / "a",
            victim=small_name,
            coders=[],
            watched=Watched(threat, every=4, metrics=("clip_i",)),
        )
        assert asked == [CDL(), CDL(), CDL(True, True, True, noise="xyz")]
        told = json.loads((tmp_path / "a" / "inspection.json").read_text())
        assert (
            told["watched"]["every"] == 4
            and told["dtype"] == "float32"
            and told["pixel_denoiser"] is None
        )

    def test_what_cannot_score_is_said_at_once(self, safe: Path, tmp_path: Path) -> None:
        for metrics, says in (
            (("clip_i", "lpips"), "'lpips' compares with originals"),
            ((), "No metric was named"),
            (("clipi",), "did you mean 'clip_i'"),
        ):
            with pytest.raises(UserError, match=says):
                inspect(
                    safe,
                    tmp_path / "out",
                    watched=Watched(
                        ThreatModel(Method("attackers", "dreambooth", SHORT)), 1, metrics
                    ),
                )
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("threat", "every", "says"),
        [
            (
                ThreatModel(Method("attackers", "dreambooth", SHORT)),
                0,
                "looked at every 0. Allowed are 1 to 4",
            ),
            (ThreatModel(Method("attackers", "dreambooth", SHORT)), 5, "Allowed are 1 to 4"),
            (
                ThreatModel(Method("attackers", "sdedit", sdedit.Config())),
                1,
                "'sdedit' does not train",
            ),
        ],
    )
    def test_what_cannot_be_watched(
        self, safe: Path, tmp_path: Path, threat: ThreatModel, every: int, says: str
    ) -> None:
        with pytest.raises(UserError, match=says):
            inspect(safe, tmp_path / "out", watched=Watched(threat, every))
        assert not (tmp_path / "out").exists()

    def test_dollars_are_dollars(self, safe: Path, tmp_path: Path, small_name: str) -> None:
        inspect(
            safe,
            tmp_path / "out",
            victim=small_name,
            coders=[],
            texts=("a $5 photo of $x_", "noise_{ for $3"),
        )
        assert (tmp_path / "out" / "zero-shot.png").is_file()

    def test_what_cannot_look(self, safe: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match="is a file"):
            inspect(safe, tmp_path / "file")
        with pytest.raises(UserError, match="no config"):
            inspect(safe, tmp_path / "out", clip=str(tmp_path))


def test_a_course_goes_on_where_it_was_stopped(
    safe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_name: str
) -> None:
    (subject,) = find_subjects(safe)
    threat = ThreatModel(Method("attackers", "dreambooth", SHORT), victim=small_name)
    attack = attack_step(subject.clean, subject, threat, 0)
    whole = training_curve.measure_curve(
        attack, subject, 1, ["clip_i"], Workspace(tmp_path / "a", "cpu")
    )
    assert list(whole) == [1, 2, 3, 4] and len(whole[1]["clip_i"]) == 4
    looks, measure = [], training_curve.measure

    def stops(*args, **more):
        looks.append(args[0])
        if len(looks) == 3:
            raise KeyboardInterrupt
        return measure(*args, **more)

    bench = Workspace(tmp_path / "b", "cpu")
    monkeypatch.setattr(training_curve, "measure", stops)
    with pytest.raises(KeyboardInterrupt):
        training_curve.measure_curve(attack, subject, 1, ["clip_i"], bench)
    assert training_curve.measure_curve(attack, subject, 1, ["clip_i"], bench) == whole
    seen = len(looks)
    assert (
        training_curve.measure_curve(attack, subject, 1, ["clip_i"], bench) == whole
        and len(looks) == seen
    ), "nothing is done again"
    assert not list((tmp_path / "b").rglob("*.part.safetensors"))
    other = replace(subject, references=subject.protected)
    assert training_curve.measure_curve(attack, other, 4, ["clip_i"], bench)[4] != whole[4], (
        "compared with other photos"
    )
    assert training_curve.measure_curve(attack, subject, 4, ["clip_i"], bench)[4] == whole[4]


@pytest.mark.parametrize(
    "looks",
    ['{"1": {"a": ["x"]}}', '{"one": {}}', '{"1": []}', '{"1": {"a": [1]}, "2": {"a": [1, 2]}}'],
)
def test_a_damaged_course_begins_again(tmp_path: Path, looks: str) -> None:
    (tmp_path / "a.json").write_text(f'{{"looks": {looks}}}')
    assert training_curve._read(tmp_path / "a.json") == {}
    (tmp_path / "a.json").write_text('{"looks": {"1": {"a": [1, 2]}, "2": {"a": [1, null]}}}')
    assert len(training_curve._read(tmp_path / "a.json")) == 2
