"""`cloakwork undo`: where the originals of protected photos are, and whether they still are."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

import cloakwork
from cloakwork import cli
from cloakwork.errors import UserError
from cloakwork.workflows import protect


@pytest.fixture
def folder(tmp_path: Path, sample_files: list[Path]) -> Path:
    """Three photos, one of them in a folder of its own, and their protected ones in `safe`."""
    found = tmp_path / "photos"
    (found / "more").mkdir(parents=True)
    for file, name in zip(sample_files, ("a.png", "b.png", "more/c.png"), strict=True):
        shutil.copy(file, found / name)
    protect.protect(found, tmp_path / "safe", protection="noise")
    return found


def test_originals_are_found_changed_or_gone(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.open(folder / "a.png").transpose(Image.Transpose.ROTATE_180).save(folder / "a.png")
    (folder / "b.png").unlink()
    (tmp_path / "safe").rename(tmp_path / "moved")
    files = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    found = cloakwork.undo(tmp_path / "moved")
    assert [(f.protected, f.original, f.state) for f in found] == [
        (tmp_path / "moved/a.png", folder / "a.png", "changed"),
        (tmp_path / "moved/b.png", folder / "b.png", "gone"),
        (tmp_path / "moved/more/c.png", folder / "more/c.png", "unchanged"),
    ]
    assert cli.main(["undo", str(tmp_path / "moved")]) == 0
    said = capsys.readouterr().out
    assert "Of 3 originals, 1 can be had as before." in said
    assert [said.count(words) for words in ("there, unchanged", "there, but", "gone")] == [1, 1, 1]
    assert files == {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}


def test_part_of_a_folder_may_be_asked_about(folder: Path, tmp_path: Path) -> None:
    (folder / "more/c.png").write_text("no photo any longer")
    (whole,) = cloakwork.undo(tmp_path / "safe" / "more")
    assert (whole.original, whole.state) == (folder / "more/c.png", "changed")
    (photo,) = cloakwork.undo(tmp_path / "safe" / "a.png")
    assert (photo.original, photo.state) == (folder / "a.png", "unchanged")


def test_without_a_record_it_is_one_sentence(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in (folder, tmp_path / "safe" / ".cloakwork" / "sheet.png"):
        with pytest.raises(UserError, match="No record says where the originals of"):
            cloakwork.undo(place)
    assert cli.main(["undo", str(tmp_path / "saef")]) == 2
    assert capsys.readouterr().err == f"'{tmp_path / 'saef'}' does not exist; check the spelling.\n"
    record = tmp_path / "safe" / ".cloakwork" / "record.json"
    record.write_text("{")
    with pytest.raises(UserError, match=r"record\.json is damaged\. Take it away, and look"):
        cloakwork.undo(tmp_path / "safe")
