"""`cloakwork mine`: whether a photo that was found is one of those that were protected."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

import cloakwork
from cloakwork import cli
from cloakwork.photos.fingerprint import fingerprint
from cloakwork.photos.photo import load_photo
from cloakwork.workflows.mine import LIKELY, mine


@pytest.fixture
def safe(tmp_path: Path, sample_files: list[Path]) -> Path:
    """Three protected photos, one of them in a folder of its own."""
    photos = tmp_path / "photos"
    (photos / "more").mkdir(parents=True)
    for file, name in zip(sample_files, ("a.png", "b.png", "more/c.png"), strict=True):
        shutil.copy(file, photos / name)
    cloakwork.protect(photos, tmp_path / "safe", protection="noise", budget=8)
    return tmp_path / "safe"


def change(record: Path, **fields: Any) -> None:
    """Change what a record says of its first photo; None takes a field away."""
    content = json.loads(record.read_text())
    photo = content["photos"][0] | fields
    content["photos"][0] = {k: v for k, v in photo.items() if v is not None}
    record.write_text(json.dumps(content))


def test_the_record_has_the_fingerprint_of_the_file(safe: Path) -> None:
    photos = json.loads((safe / ".cloakwork/record.json").read_text())["photos"]
    assert [p["fingerprint"] for p in photos] == [
        fingerprint(load_photo(safe / name).pixels) for name in ("a.png", "b.png")
    ]


def test_changed_photos_are_known_again(safe: Path, tmp_path: Path) -> None:
    found = tmp_path / "found"
    found.mkdir()
    image = Image.open(safe / "a.png").convert("RGB")
    width, height = image.size
    image.crop((4, 0, width, height - 5)).resize((100, 80)).save(found / "cut.jpg", quality=60)
    ImageOps.mirror(image).save(found / "mirrored.png")
    shutil.copy(safe / "more/c.png", found / "same.png")
    shutil.copy(tmp_path / "photos/b.png", found / "leaked.png")
    Image.effect_noise((128, 128), 90).convert("RGB").save(found / "another.png")
    before = {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}
    by_name = {f.file.name: f for f in mine(found, tmp_path)}
    assert not by_name["another.png"].matches
    (cut,), (mirrored,) = by_name["cut.jpg"].matches, by_name["mirrored.png"].matches
    assert cut.protected == safe / "a.png" and cut.original == tmp_path / "photos/a.png"
    assert 0 < cut.distance <= LIKELY and not cut.mirrored
    assert mirrored.protected == safe / "a.png" and mirrored.mirrored
    assert (same := by_name["same.png"].matches[0]).sure == "the file itself"
    assert same.protected == safe / "more/c.png" and same.when
    assert same.made == "noise at a budget of 8 against no model"
    (leaked,) = by_name["leaked.png"].matches
    assert leaked.protected == safe / "b.png" and leaked.sure == "sure"
    assert before == {f: f.read_bytes() for f in tmp_path.rglob("*") if f.is_file()}


def test_photos_need_not_be_there_any_more(safe: Path, tmp_path: Path) -> None:
    found = shutil.move(safe / "a.png", tmp_path / "found.png")
    shutil.rmtree(tmp_path / "photos")
    (known,) = mine(found, safe)
    assert known.matches[0].protected == safe / "a.png"


@pytest.mark.parametrize("gone", ["", "safe/a.png"])
def test_records_of_before_are_compared_by_their_files(
    safe: Path, tmp_path: Path, gone: str
) -> None:
    """By the protected photo, or by its original; with neither a note says so."""
    change(safe / ".cloakwork/record.json", fingerprint=None)
    shutil.copy(safe / "a.png", tmp_path / "found.png")
    Image.open(tmp_path / "found.png").save(tmp_path / "found.jpg")
    if gone:
        (tmp_path / gone).unlink()
    (known,) = mine(tmp_path / "found.jpg", safe)
    assert known.matches[0].protected == safe / "a.png"
    if gone:
        Image.open(safe / "b.png").save(tmp_path / "photos" / "a.png")  # another picture by now
        result = mine(tmp_path / "found.jpg", safe)
        assert not result[0].matches
        assert any(n.startswith("1 protected photo could not be") for n in result.summary.notes)


def test_a_damaged_record_does_not_hide_the_others(safe: Path, tmp_path: Path) -> None:
    cloakwork.protect(tmp_path / "photos/b.png", tmp_path / "second", protection="noise")
    (tmp_path / "second/.cloakwork/record.json").write_text("{")
    result = mine(safe / "b.png", [safe, tmp_path / "second"])
    assert result[0].matches and "second" in " ".join(result.summary.notes)
    change(safe / ".cloakwork/record.json", fingerprint="phash-1:nothing")
    assert mine(safe / "a.png", safe)[0].matches  # by its file


def test_the_command(
    safe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["mine", "photos/a.png", "photos/more/c.png"]) == 0
    said = capsys.readouterr().out
    assert "2 of 2 photos known among 3 protected ones." in said
    assert "sure (" in said and f"{safe / 'a.png'}, made from {tmp_path / 'photos/a.png'}" in said
    assert "No match is no proof" not in said
    assert cli.main(["mine", "photos/a.png", "--in", "photos"]) == 2
    assert "No record of a protected photo is in photos" in capsys.readouterr().err
    assert cli.main(["mine", "photos/a.png", "--in", "safee"]) == 2
    assert "is no folder" in capsys.readouterr().err
    assert cli.main(["mine"]) == 2


def test_it_prints_short(safe: Path, tmp_path: Path) -> None:
    Image.effect_noise((128, 128), 90).convert("RGB").save(tmp_path / "x.png")
    result = cloakwork.mine([safe / "a.png", tmp_path / "x.png"], safe)
    lines = repr(result).splitlines()
    assert lines[0] == "1 of 2 photos known among 3 protected ones." and len(lines) == 4
    assert "the file itself" in lines[1] and lines[2].endswith("x.png: not known.")
    assert lines[3].startswith("No match is no proof")


def test_no_photo_has_other_bytes_for_it(safe: Path, tmp_path: Path) -> None:
    """What is recorded is read from the files, and the same job is known as done by its record."""
    before = {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in safe.glob("*.png")}
    record = safe / ".cloakwork/record.json"
    change(record, fingerprint=None)
    (first, _) = cloakwork.protect(tmp_path / "photos", safe, protection="noise", budget=8)
    assert not first.fresh and first.photos[0].fingerprint == ""
    assert before == {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in safe.glob("*.png")}
