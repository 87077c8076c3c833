"""Captions and metadata.jsonl beside photos are copied when told, with names adjusted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from cloakwork.errors import UserError
from cloakwork.photos.sets import find_sets
from cloakwork.photos.sidecars import copies, find_sidecars
from cloakwork.workflows.protect import protect


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As trainers take it: a caption a photo; a list of the photos, in the folder or over it."""
    for name in ("in/1_cat/a.jpg", "in/1_cat/b.v2.png", "in/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (70, 70)).save(tmp_path / name)
    (tmp_path / "in/1_cat/a.txt").write_text("a cat")
    (tmp_path / "in/1_cat/b.v2.txt").write_text("another cat")
    (tmp_path / "in/1_cat/notes.txt").write_text("of no photo")
    lines = [
        {"file_name": "c.jpg", "text": "ein Kätzchen"},
        {"file_name": "1_cat/a.jpg", "n": 2},
        {"file_name": "gone.jpg"},
    ]
    text = "\n".join(json.dumps(line) for line in lines) + "\n\n"
    (tmp_path / "in/metadata.jsonl").write_text(text, encoding="utf-8")
    return tmp_path / "in"


def test_they_are_copied_with_the_outputs_names(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (folder / "1_cat/a.txt").chmod(0o600)
    records = protect(folder, out, protection="noise", sidecars=True)
    assert (out / "1_cat/a.txt").read_text() == "a cat"
    assert (out / "1_cat/a.txt").stat().st_mode & 0o777 == 0o600
    assert (out / "1_cat/b.v2.txt").read_text() == "another cat"
    lines = (out / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"file_name": "c.png", "text": "ein Kätzchen"},
        {"file_name": "1_cat/a.png", "n": 2},
    ]
    assert all((out / json.loads(line)["file_name"]).is_file() for line in lines)
    notes = records.summary.notes
    assert (
        "Copied: 2 captions (.txt) and metadata.jsonl beside the photos. "
        "Lines left out that name other files: 1." in notes
    )
    passed = "Passed over: 1 file, which is no photo that can be read here: 1_cat/notes.txt."
    assert passed in notes
    again = protect(folder, out, protection="noise", sidecars=True)
    assert not again[0].fresh
    (out / "1_cat/a.txt").write_text("my own words")
    with pytest.raises(UserError, match=r"a.txt exists already; give --force"):
        protect(folder, out, protection="noise", sidecars=True)
    assert (out / "1_cat/a.txt").read_text() == "my own words"
    protect(folder, out, protection="noise", sidecars=True, force=True)
    assert (out / "1_cat/a.txt").read_text() == "a cat"


def test_otherwise_it_is_told_that_they_are_not(folder: Path, tmp_path: Path) -> None:
    notes = protect(folder, tmp_path / "out", protection="noise").summary.notes
    said = (
        "Not copied: 2 captions (.txt) and metadata.jsonl beside the photos; give --sidecars to "
        "copy."
    )
    assert said in notes
    assert not list((tmp_path / "out").rglob("*.txt"))


def test_a_list_that_cannot_be_read_is_refused_before_anything(
    folder: Path, tmp_path: Path
) -> None:
    for line in ("{", "[1]", '{"text": "no name"}'):
        (folder / "metadata.jsonl").write_text(line)
        with pytest.raises(UserError, match=r"Line 1 of .*metadata.jsonl is no JSON object"):
            protect(folder, tmp_path / "out", protection="noise", sidecars=True)
    assert not (tmp_path / "out").exists()


def test_nothing_outside_the_output_folder_is_written(folder: Path, tmp_path: Path) -> None:
    """Folders over loose photos are not mirrored, even where they are called like the output's."""
    out = tmp_path / "elsewhere" / "in"
    sets = find_sets([folder / "1_cat" / "a.jpg"], out)
    (sidecar,) = find_sidecars(sets, out)
    assert sidecar.output == out / "a.txt"
    assert [c.output for c in copies([sidecar], sets, force=False)] == [out / "a.txt"]
