"""A network that learns what a protection adds, and takes it away."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.spies import pixels_of
from PIL import Image

from cloakwork import cli
from cloakwork.errors import UserError
from cloakwork.files import SAMPLE_PHOTOS
from cloakwork.models import cleaner
from cloakwork.models.cleaner import Cleaner
from cloakwork.models.ldm import LDM
from cloakwork.photos.photo import load_photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.tensors import as_float
from cloakwork.protections import pid
from cloakwork.purifiers import learned
from cloakwork.state import RunState
from cloakwork.workflows import train_purifier as workflow
from cloakwork.workflows.purify import purify
from cloakwork.workflows.train_purifier import train_purifier

STRIPES = '''"""Stripes, the same on every photo: what a network learns at once."""
from dataclasses import dataclass

import torch

VERSION, USES_SURROGATES = 1, False


@dataclass(frozen=True)
class Config:
    budget: float = 16


def protect(photos, surrogates, cfg, *, clean, rng, state):
    def striped(p):
        bars = (torch.arange(p.shape[-1]) // 4 % 2 * 2 - 1) * cfg.budget / 255
        return (p + bars).clamp(0, 1)

    return [striped(p) for p in photos]
'''


@pytest.fixture
def six(sample_files: list[Path], tmp_path: Path) -> Path:
    """Six photos, turned copies among them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, file in enumerate([*sample_files, *sample_files]):
        photo = Image.open(file)
        (photo.rotate(180) if i > 2 else photo).save(folder / f"{i}.png")
    return folder


@pytest.fixture
def stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "striped_lab").mkdir()
    (tmp_path / "striped_lab" / "stripes.py").write_text(STRIPES)
    monkeypatch.syspath_prepend(tmp_path)
    return "striped_lab.stripes"


def test_it_learns_a_pattern_and_tells_it(
    six: Path, stripes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workflow, "BATCH", 2)
    made = train_purifier(six, "net", protection=stripes, steps=60)
    assert (made.learned_from, made.held_out) == (4, 2)
    assert made.left < 0.5
    assert made.lpips_after < made.lpips_before
    assert made.auc > 0.8
    rows = purify("net/protected", "pure", purifiers=f"learned:weights={made.folder},every=True")
    for row in rows:
        assert row.original is not None
        far, near = (
            abs(pixels_of(f) - pixels_of(row.original)).mean()
            for f in (tmp_path / "net" / "protected" / row.name, row.output)
        )
        assert near < far


def test_a_stopped_training_goes_on_to_the_same_weights(
    six: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOAKWORK_CHECKPOINT_SECONDS", "0")

    def stop(label: str, done: int, total: int) -> None:
        if label.startswith("learning") and done == 2:
            raise KeyboardInterrupt

    once, again = tmp_path / "once", tmp_path / "again"
    train_purifier(six, once, protection="noise", steps=3)
    with pytest.raises(KeyboardInterrupt):
        train_purifier(six, again, protection="noise", steps=3, progress=stop)
    train_purifier(six, again, protection="noise", steps=3)
    a, b = ((f / cleaner.WEIGHTS).read_bytes() for f in (once, again))
    assert a == b


def add(net: Cleaner, what: float) -> None:
    """Let a network find the same perturbation everywhere."""
    assert net.last.bias is not None
    torch.nn.init.constant_(net.last.bias, what)


def test_photos_that_look_untouched_are_left_alone(tmp_path: Path) -> None:
    photo = torch.rand(3, 40, 52, generator=torch.Generator().manual_seed(0))

    def network(name: str, told: float) -> learned.Config:
        net = Cleaner()
        add(net, 0.1)
        torch.nn.init.zeros_(net.told.weight)
        torch.nn.init.constant_(net.told.bias, told)
        folder = tmp_path / name
        folder.mkdir()
        cleaner.save(net, folder)
        return learned.Config(str(folder))

    rng = torch.Generator()
    (same,) = learned.purify([photo], None, network("sure not", -1), rng=rng)
    (other,) = learned.purify([photo], None, network("sure", 1), rng=rng)
    assert torch.equal(same, photo)
    assert torch.allclose(other, (photo - 0.1).clamp(0, 1), atol=1e-3)


def test_a_large_photo_is_looked_at_in_parts() -> None:
    net, photo = Cleaner().eval(), torch.rand(3, 530, 600)
    add(net, 0.1)
    found, _ = cleaner.look(net, photo)
    assert torch.allclose(found, torch.full_like(photo, 0.1), atol=1e-5)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [({}, "There is no model.safetensors in"), ({"model.safetensors": b"no"}, "holds no network")],
)
def test_a_folder_without_a_network_is_one_sentence(
    files: dict[str, bytes], sentence: str, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        learned.purify(
            [torch.rand(3, 16, 16)], None, learned.Config(str(tmp_path)), rng=torch.Generator()
        )


def test_the_packages_own_network_takes_off_what_pid_adds(tiny: LDM) -> None:
    """It never saw the photo."""
    photo = as_float(load_photo(SAMPLE_PHOTOS / "chelsea.png").pixels)
    photos = preprocess([photo], tiny.size)
    made = pid.protect(
        list(photos),
        [tiny],
        replace(pid.PRESETS["tiny"], steps=20),
        clean=None,
        rng=torch.Generator().manual_seed(0),
        state=RunState(),
    )
    (pure,), (same,) = (
        learned.purify(list(x), None, learned.Config(), rng=torch.Generator())
        for x in (made, photos)
    )
    assert torch.equal(same, photos[0]), "a clean photo stays as it is"
    assert (pure - photos[0]).square().mean() < 0.75 * (made[0] - photos[0]).square().mean()


def test_too_few_photos_are_told_by_the_command(
    sample_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    for file in sample_files[:2]:
        shutil.copy(file, folder)
    words = ["train-purifier", str(folder), "-o", str(tmp_path / "net"), "--protection", "noise"]
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert "Purifiers are learned from 5 photos at least, and 2 were given" in said
    assert not (tmp_path / "net").exists()  # nothing was computed
