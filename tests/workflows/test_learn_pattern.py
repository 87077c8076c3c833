"""Patterns of one's own for the protection `learned`."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from cloakwork import cli
from cloakwork.models import protector
from cloakwork.photos.photo import load_photo
from cloakwork.photos.rounding import working_copy
from cloakwork.protections import learned
from cloakwork.purifiers import subtract
from cloakwork.state import RunState
from cloakwork.workflows import learn_pattern as workflow
from cloakwork.workflows.learn_pattern import learn_pattern, square


@pytest.fixture
def five(sample_files: list[Path], tmp_path: Path) -> Path:
    """Five photos, small ones among them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, file in enumerate([*sample_files, *sample_files][:5]):
        shutil.copy(file, folder / f"{i}{file.suffix}")
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "BATCH", 1)
    monkeypatch.setattr(workflow, "SIDE", 96)


def test_a_pattern_moves_latents_farther_than_noise(five: Path, tmp_path: Path) -> None:
    made = learn_pattern(five, tmp_path / "mine", encoders="tiny-b", steps=25, seed=3)
    assert (made.learned_from, made.held_out) == (4, 1)
    assert made.moves["tiny-b"] > 1.3
    assert not list((tmp_path / "mine").rglob("state-*"))


def test_whoever_has_the_package_alone_finds_no_pattern_of_ones_own(
    five: Path, tmp_path: Path
) -> None:
    """The purifier that takes off the package's own leaves it."""
    learn_pattern(five, tmp_path / "mine", encoders="tiny-b", steps=3)
    photo = working_copy(load_photo(five / "0.png").pixels, 300)

    def purified(**fields: str) -> tuple[torch.Tensor, torch.Tensor]:
        rng = torch.Generator().manual_seed(0)
        cfg = learned.Config(**fields)  # type: ignore[arg-type]
        made = learned.protect([photo], [], cfg, clean=None, rng=rng, state=RunState())
        (pure,) = subtract.purify(made, None, subtract.Config(), rng=rng)
        return made[0], pure

    assert torch.equal(*purified(weights=str(tmp_path / "mine")))
    assert not torch.equal(*purified())


def test_two_without_a_seed_are_different(five: Path, tmp_path: Path) -> None:
    zero = torch.device("cpu")
    for name in ("a", "b"):
        learn_pattern(five, tmp_path / name, encoders="tiny-b", steps=1)
    a, b = (protector.load(tmp_path / name, zero) for name in ("a", "b"))
    assert (a.sign() == b.sign()).float().mean() == pytest.approx(0.5, abs=0.05)


def test_a_stopped_run_goes_on_to_the_same_pattern(
    five: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOAKWORK_CHECKPOINT_SECONDS", "0")

    def stop(label: str, done: int, total: int) -> None:
        if (label, done) == ("learning pattern 2 of 2", 2):
            raise KeyboardInterrupt

    once, again = tmp_path / "once", tmp_path / "again"
    learn_pattern(five, once, patterns=2, encoders="tiny-b", steps=3, seed=1)
    with pytest.raises(KeyboardInterrupt):
        learn_pattern(five, again, patterns=2, encoders="tiny-b", steps=3, seed=1, progress=stop)
    learn_pattern(five, again, patterns=2, encoders="tiny-b", steps=3, seed=1)
    a, b = ((folder / protector.WEIGHTS).read_bytes() for folder in (once, again))
    assert a == b


def test_a_drawn_seed_outlives_a_stop(
    five: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that goes on is with the seed that it began with, and no other."""
    monkeypatch.setenv("CLOAKWORK_CHECKPOINT_SECONDS", "0")
    seeds = iter([5, 6])
    monkeypatch.setattr(workflow.secrets, "randbits", lambda bits: next(seeds))

    def stop(label: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn_pattern(five, tmp_path / "mine", encoders="tiny-b", steps=3, progress=stop)
    learn_pattern(five, tmp_path / "mine", encoders="tiny-b", steps=3)
    learn_pattern(five, tmp_path / "five", encoders="tiny-b", steps=3, seed=5)
    a, b = ((tmp_path / name / protector.WEIGHTS).read_bytes() for name in ("mine", "five"))
    assert a == b


@pytest.mark.parametrize("shape", [(40, 700), (96, 96), (900, 500)])
def test_squares_are_of_one_size(shape: tuple[int, int]) -> None:
    assert square(Image.new("RGB", shape[::-1]), random.Random(0)).shape == (3, 96, 96)


def test_the_command_says_what_it_made(
    five: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--surrogate", "tiny-b", "--steps", "1", "--patterns", "2"]
    assert cli.main(["learn-pattern", str(five), "-o", str(tmp_path / "mine"), *words]) == 0
    told = capsys.readouterr().out
    assert "2 patterns, learned from 4 photos" in told
    assert f"--protection learned:weights={tmp_path / 'mine'}" in told
    assert cli.main(["learn-pattern", str(five / "0.png"), "-o", str(tmp_path / "no")]) == 2
    assert "learned from 5 photos at least, and 1 were given." in capsys.readouterr().err
