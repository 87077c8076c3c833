"""Commands say which files of a folder they did not take, and which photos they skipped."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cloakwork.workflows.protect import protect
from cloakwork.workflows.purify import purify


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
        assert "Passed over: 1 file, which is no photo that can be read here: film.mov." in notes
        assert [note for note in notes if note.startswith(f"Skipped: {folder / 'cut.jpg'} is ")]
