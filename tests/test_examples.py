"""The examples run as they stand, each on one page."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest

from cloakwork import cli
from cloakwork.files import SAMPLE_PHOTOS

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(SAMPLE_PHOTOS / "chelsea.png", folder)
    return folder


def run(monkeypatch: pytest.MonkeyPatch, name: str, *words: object) -> None:
    path = ROOT / "examples" / f"{name}.py"
    monkeypatch.setattr("sys.argv", [str(path), *map(str, words)])
    runpy.run_path(str(path), run_name="__main__")


def test_each_is_on_one_page() -> None:
    assert len(EXAMPLES) == 5
    assert all(len(path.read_text().splitlines()) < 40 for path in EXAMPLES)


def test_a_folder_is_protected_and_audited(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(monkeypatch, "protect_folder", photos, tmp_path / "safe", "pid:steps=1")
    assert "chelsea.png: PSNR" in capsys.readouterr().out
    assert (tmp_path / "safe" / "before-after.html").is_file()
    quick = "dreambooth:tiny:steps=1,class_images=1,sampling.n=1,sampling.steps=1"
    run(monkeypatch, "audit_one_person", tmp_path / "safe", tmp_path / "report", quick)
    said = capsys.readouterr().out
    assert "after jpeg, clip_i: " in said and "Indicative only" in said


def test_any_model_is_taken(
    photos: Path,
    tmp_path: Path,
    small_name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(monkeypatch, "against_stable_diffusion", photos, tmp_path / "safe", small_name)
    assert "latents 8 times smaller" in capsys.readouterr().out


def test_a_protection_and_a_grid_of_ones_own(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_name: str
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    mine = ("--protection", "examples.new_protection", "--steps", "1", "--surrogate", small_name)
    assert cli.main(["protect", str(photos), "-o", str(tmp_path / "safe"), *mine]) == 0
    grid = ("--recipe", "examples.grid_of_your_own.grid", "--dry-run")
    assert cli.main(["bench", *grid, "-o", str(tmp_path / "report")]) == 0
