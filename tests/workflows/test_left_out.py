"""Commands say which files of a folder they did not take, and which photos they skipped."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cloakwork import cli
from cloakwork.photos.left_out import left_out_of
from cloakwork.workflows.attack import attack
from cloakwork.workflows.protect import protect
from cloakwork.workflows.purify import purify
from cloakwork.workflows.score import score

FILM = "Passed over: 1 file, which is no photo that can be read here: film.mov."


@pytest.fixture
def folder(sample_files: list[Path], tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(sample_files[0], folder / "a.png")
    (folder / "film.mov").write_bytes(b"a film")
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def test_protect_and_purify_name_what_they_leave_out(folder: Path, tmp_path: Path) -> None:
    said = [
        protect(folder, tmp_path / "a", protection="noise", skip_bad=True).summary.notes,
        purify(folder, tmp_path / "b", purifiers="none", skip_bad=True).summary.notes,
    ]
    for notes in said:
        assert FILM in notes
        assert [note for note in notes if note.startswith(f"Skipped: {folder / 'cut.jpg'} is ")]


def test_attack_and_score_name_it_alike(
    folder: Path, tmp_path: Path, small_name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "cut.jpg").unlink()
    quick = {"attacker": "sdedit", "steps": 2, "strengths": (0.5,), "victim": small_name}
    assert FILM in attack(folder, tmp_path / "a", **quick).summary.notes
    assert score(folder, metrics="brisque").summary.notes[-1] == FILM
    scores = str(folder / "scores.json")  # which is no file that anybody has forgotten
    for _ in range(2):
        assert cli.main(["score", str(folder), "--metric", "brisque", "-o", scores]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == FILM


def test_folders_that_are_only_read(folder: Path, tmp_path: Path) -> None:
    """As audit and inspect name them, whose own tests say that they do."""
    other = tmp_path / "clean"
    other.mkdir()
    shutil.copy(folder / "a.png", other)
    assert left_out_of(folder, None, other) == [FILM]
    (other / "raw.cr2").write_bytes(b"II*")
    (note,) = left_out_of(folder, other)
    assert note == "Passed over: 2 files, no photos that can be read here: raw.cr2, film.mov."
    assert left_out_of(folder / "a.png") == left_out_of(f"{folder}/*.png") == []
