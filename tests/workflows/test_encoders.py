"""Encoders alone as surrogates: which protections take them, and what the others say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import small_autoencoders
from PIL import Image

from cloakwork import cli, registry
from cloakwork.errors import UserError
from cloakwork.files import read_json
from cloakwork.models import hub, latent_spaces
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float, from_pil
from cloakwork.workflows import check_module, estimate
from cloakwork.workflows.images import protect_images
from cloakwork.workflows.protect import protect

# protections that need no denoiser, with the settings they take
ALONE = {
    "photoguard": {},
    "pid": {},
    "mist": {"mode": "textural"},
    "glaze": {},
    "dct_shield": {},
}


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("encoders")
    return {
        name: str(small_autoencoders.save(name, folder / name))
        for name in ("sd3", "flux2", "qwen", "sana", "tiny")
    }


def protected(name: str, surrogates: list[str], photo: Path, out: Path, **settings: Any) -> Any:
    return protect(
        photo, out, protection=name, preset="tiny", surrogates=surrogates, device="cpu", **settings
    )


@pytest.mark.parametrize("name", ALONE)
def test_with_encoders_and_with_a_whole_model_beside_them(
    name: str, encoders: dict[str, str], small_name: str, sample_files: list[Path], tmp_path: Path
) -> None:
    photo, settings = sample_files[2], {"steps": 2} | ALONE[name]
    before = load_photo(photo).pixels.int()
    for out, surrogates in (
        ("alone", [encoders["flux2"]]),
        ("mixed", [encoders["sd3"], small_name]),
    ):
        (record,) = protected(name, surrogates, photo, tmp_path / out, **settings)
        change = load_photo(record.photos[0].output).pixels.int() - before
        assert 0 < change.abs().max() <= 11 + 1e-3


def test_every_class_protects(
    encoders: dict[str, str], sample_files: list[Path], tmp_path: Path
) -> None:
    files = [load_photo(sample_files[2]).pixels]
    for name, folder in encoders.items():
        (record,) = protected("pid", [folder], sample_files[2], tmp_path / name, steps=1)
        files.append(load_photo(record.photos[0].output).pixels)
        again = read_json(record.record)["surrogates"]
        assert len(again) == 1 and folder in again[0]
    for i, one in enumerate(files):
        assert not any(torch.equal(one, other) for other in files[:i])


@pytest.mark.parametrize("name", [name for name, _ in registry.listing("protections")])
def test_what_needs_a_whole_model_says_so(
    name: str, encoders: dict[str, str], sample_files: list[Path], tmp_path: Path
) -> None:
    module = registry.load("protections", name)
    if not getattr(module, "USES_SURROGATES", True) or (name in ALONE and name != "mist"):
        return
    with pytest.raises(UserError, match=f"'{name}' needs a whole model here") as caught:
        protected(name, [encoders["tiny"]], sample_files[2], tmp_path / "out")
    assert len(caught.value.sentences) == 1 and "or pid." in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_lossy_file_says_what_is_left(
    encoders: dict[str, str], sample_files: list[Path], tmp_path: Path
) -> None:
    how = {"steps": 1, "suffix": ".jpg", "quality": 90}
    (record,) = protected("pid", [encoders["sana"]], sample_files[2], tmp_path, **how)
    assert any("of the latents' shift" in note for note in record.notes)


@pytest.mark.parametrize("name", [name for name, _ in registry.listing("protections")])
def test_what_is_said_of_a_protections_needs_means_something(name: str) -> None:
    assert not list(check_module.surrogates(registry.load("protections", name), "protections"))


@pytest.fixture
def families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small versions of two latent spaces, and no copy from the hub."""
    monkeypatch.setattr(latent_spaces, "STUDENTS", tmp_path / "students")
    monkeypatch.setattr(hub, "cached", lambda *_: None)
    for name in ("sd", "sd3"):
        small_autoencoders.save("tiny", latent_spaces.STUDENTS / name)


def test_all_families_at_hand_and_what_is_said_of_them(
    families: None, sample_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--protection pid --steps 1 --surrogate all --device cpu".split()
    assert cli.main(["protect", str(sample_files[2]), "-o", str(tmp_path / "out"), *words]) == 0
    said = " ".join(capsys.readouterr().out.split())
    small = "small versions of two latent spaces (sd, sd3), not the models' own encoders"
    assert f"Computed against {small}. This says nothing about other models." in said
    record = read_json(tmp_path / "out" / ".cloakwork" / "record.json")
    assert record["against"] == small
    assert [model["name"] for model in record["models"]] == ["sd:tiny", "sd3:tiny"]
    assert record["config"]["budget"] == 11  # the laptop preset's


def test_a_picture_in_memory_is_that_of_the_file(
    families: None, sample_files: list[Path], tmp_path: Path
) -> None:
    (record,) = protected("pid", ["sd", "tiny"], sample_files[2], tmp_path / "out", steps=1)
    with Image.open(sample_files[2]) as photo:
        same = protect_images(photo, "pid:tiny:steps=1", surrogates=["sd", "tiny"], device="cpu")
    tiny, student = record.against.split(", ", 1)
    assert tiny.startswith("tiny (weights ") and student.startswith("a small version of one")
    assert torch.equal(as_float(load_photo(record.photos[0].output).pixels), from_pil(same))


def test_nobody_protects_against_what_is_not_here(
    families: None, sample_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["protect", str(sample_files[2]), "-o", str(tmp_path / "out"), "--surrogate", "qwen"]
    assert cli.main([*words, "--protection", "pid"]) != 0
    assert "--fetch fetches it from the hub" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_are_for_each_surrogate(
    encoders: dict[str, str], sample_files: list[Path], tmp_path: Path
) -> None:
    both = [encoders["sd3"], encoders["sana"]]
    how = {"photo": sample_files[2], "steps": 1}
    with pytest.raises(UserError, match="are 3 numbers for 2 surrogates"):
        protected("pid", both, out=tmp_path / "no", surrogate_weights="1 1 1", **how)
    alike, uneven = (
        protected("pid", both, out=tmp_path / name, surrogate_weights=name, **how)[0].photos[0]
        for name in ("1 1", "1 0")
    )
    assert alike.sha256 != uneven.sha256


def test_how_long_it_will_take_is_said_before(
    encoders: dict[str, str], sample_files: list[Path], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(estimate, "WORTH_SAYING", 0)
    said: list[str] = []
    both = [encoders["flux2"], encoders["qwen"]]
    protected("pid", both, sample_files[2], tmp_path, steps=1, say=said.append)
    assert said == ["This takes less than a minute for 1 photo."]


def test_what_a_family_is_stands_in_the_list(
    families: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["list", "models"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    told = {line[0]: " ".join(line[1:]) for line in lines if line}
    assert told["sd3:tiny"] == "comes with the package. Stable Diffusion 3 and 3.5"
    assert told["qwen:full"].startswith("--fetch fetches Qwen/Qwen-Image, about 254 MB.")
    assert told["tiny"] == "comes with the package" and "sana:tiny" not in told
