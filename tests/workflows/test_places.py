"""Names of photos and places of outputs that are legal, or told before the computation."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from cloakwork.errors import UserError
from cloakwork.evaluation.photo_pairs import find_subjects
from cloakwork.photos.photo import load_photo
from cloakwork.photos.saving import check_target
from cloakwork.workflows import protect as protecting
from cloakwork.workflows import purify_set as purifying
from cloakwork.workflows.protect import protect
from cloakwork.workflows.purify import purify
from cloakwork.workflows.undo import undo


@pytest.fixture(autouse=True)
def photo(tmp_path: Path, sample_files: list[Path]) -> Path:
    """A photo; and the working folder is another one."""
    return shutil.copy(sample_files[0], tmp_path / "photo.png")


def put(photo: Path, *names: str) -> Path:
    folder = photo.parent / "in"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, folder / name)
    return folder


OURS = ("record.json", "sheet.png", "timings.json", "overview.png", "saving.json", "purified.json")


@pytest.mark.parametrize("each", [False, True])
def test_folders_may_be_called_as_our_files(photo: Path, tmp_path: Path, each: bool) -> None:
    folder = put(photo, "a.png", *(f"{name}/b.png" for name in (*OURS, "lock", "record.json_")))
    made = protect(folder, tmp_path / "out", protection="noise", each=each)
    assert len(made) == 9 and len({record.record for record in made}) == 9
    assert not any(
        r.fresh for r in protect(folder, tmp_path / "out", protection="noise", each=each)
    )
    assert len(undo(tmp_path / "out")) == 9
    assert len(find_subjects(tmp_path / "out")) == 9
    purify(tmp_path / "out", tmp_path / "pure")
    for name in OURS:
        assert (tmp_path / "pure" / name / "b.png").is_file()


def test_photos_may_be_called_as_our_files(photo: Path, tmp_path: Path) -> None:
    folder = put(photo, "...png", "record.json.png", "overview.png.png", "b.png", "b/sheet.png.png")
    (folder / "...png").rename(folder / "a...png")
    shutil.copy(photo, tmp_path / "...png")
    made = protect([folder, tmp_path / "...png"], tmp_path / "out", protection="noise", each=True)
    assert len({record.record for record in made}) == 6
    beside = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"...png", ".cloakwork", "in"} <= beside and beside.isdisjoint(OURS)


def test_a_long_name_is_right(photo: Path, tmp_path: Path) -> None:
    for name in ("a" * 251 + ".png", "あ" * 83 + ".jpg"):
        shutil.rmtree(tmp_path / "in", ignore_errors=True)
        folder = put(photo, name)
        Image.open(photo).convert("RGB").save(folder / name)
        for each in (False, True):
            (made,) = protect(folder, tmp_path / "out", protection="noise", force=True, each=each)
            assert made.photos[0].output.name == name.replace(".jpg", ".png")
        assert purify(folder, tmp_path / "pure", force=True)[0].output.is_file()


def refused(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, **how: str) -> list[str]:
    """Return the sentences, if they come before anything is computed or written."""
    found = []
    for run, module, work in (
        (partial(protect, protection="noise"), protecting, "protect_set"),
        (purify, purifying, "_purify"),
    ):
        monkeypatch.setattr(module, work, None)
        with pytest.raises(UserError) as error:
            run(folder, out, **how)  # type: ignore[arg-type]
        found += error.value.sentences
    assert not [file for file in out.rglob("*") if file.is_file()]
    return found


def test_a_name_too_long_for_its_ending_is_told_first(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(photo, "a" * 251 + ".png", "b.png")
    for sentence in refused(folder, tmp_path / "out", monkeypatch, suffix=".tiff"):
        assert "File name too long" in sentence and "shorten the name" in sentence
    assert not (tmp_path / "out").exists()


def test_something_else_in_an_outputs_place_is_told_first(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(photo, "b.png")
    (tmp_path / "out/b.png").mkdir(parents=True)
    for sentence in refused(folder, tmp_path / "out", monkeypatch):
        assert "Is a directory" in sentence and "take away" in sentence
    put(photo, "c.jpg/d.png")
    Image.open(photo).convert("RGB").save(folder / "c.png", "PNG")
    (folder / "c.jpg").rename(folder / "c.png.d")
    (folder / "c.png.d").rename(folder / "e.png")
    Image.open(photo).convert("RGB").save(folder / "e.jpg")
    sentences = refused(folder, tmp_path / "other", monkeypatch)
    assert any("other/e.png could not be written" in sentence for sentence in sentences)


def test_metadata_too_large_is_told_before_saving(photo: Path, tmp_path: Path) -> None:
    large = replace(load_photo(photo), exif=b"Exif\0\0" + bytes(70_000))
    with pytest.raises(UserError, match=r"metadata of .* does not fit .*--strip-metadata"):
        check_target(large, tmp_path / "a.jpg")
    check_target(large, tmp_path / "a.jpg", strip_metadata=True)
    check_target(large, tmp_path / "a.png")


def test_a_side_too_long_is_told_first(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(photo, "b.png")
    Image.new("RGB", (16_500, 64)).save(folder / "long.png")
    sentences = refused(folder, tmp_path / "out", monkeypatch, suffix=".webp")
    assert len(sentences) == 2 and all("does not fit into .webp" in s for s in sentences)
