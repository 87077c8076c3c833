"""Photos made for an upload: as wide as a platform shows them, and as its JPEG."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.spies import pixels_of
from PIL import Image
from PIL.ExifTags import IFD, Base

from cloakwork import specs
from cloakwork.cli import main
from cloakwork.errors import UserError
from cloakwork.evaluation.photo_pairs import find_subjects
from cloakwork.files import FOLDER
from cloakwork.photos.photo import load_photo
from cloakwork.workflows.images import purify_images
from cloakwork.workflows.protect import protect

WIDTH = 160


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smooth photo of 240 x 180, told by EXIF to be turned: 180 wide and 240 high."""
    y, x = np.mgrid[0:180, 0:240]
    waves = 128 + 60 * np.sin(np.stack([x / 23, y / 17, (x + y) / 31], -1))
    exif = Image.Exif()
    exif[Base.Orientation] = 6
    exif[IFD.Exif] = {Base.ExifImageWidth: 240, Base.ExifImageHeight: 180}
    path = tmp_path_factory.mktemp("wide") / "a.png"
    Image.fromarray(waves.astype(np.uint8)).save(path, exif=exif)
    return path


def narrow(photo: Path) -> np.ndarray:
    """The photo upright, at WIDTH."""
    upright = Image.fromarray(load_photo(photo).pixels.permute(1, 2, 0).numpy())
    high = round(upright.height * WIDTH / upright.width)
    return np.array(upright.resize((WIDTH, high), Image.Resampling.LANCZOS)).astype(int)


def test_the_budget_holds_on_the_narrower_photo(wide: Path, tmp_path: Path) -> None:
    (record,) = protect(wide, tmp_path / "out", protection="noise", for_width=WIDTH, budget=6)
    (photo,) = record.photos
    change = np.abs(pixels_of(photo.output) - narrow(wide))
    assert change.shape == (213, WIDTH, 3) and change.max() == 6 == photo.budget_used
    assert photo.left is None and any("wider than 160" in note for note in record.notes)
    camera = Image.open(photo.output).getexif().get_ifd(IFD.Exif)
    assert (camera[Base.ExifImageWidth], camera[Base.ExifImageHeight]) == (WIDTH, 213)


def test_none_is_enlarged(wide: Path, tmp_path: Path) -> None:
    (record,) = protect(wide, tmp_path / "out", protection="noise", for_width=4000, budget=6)
    assert (record.photos[0].width, record.photos[0].height) == (180, 240)
    assert not any("wider" in note for note in record.notes)


def test_it_is_what_the_purifier_post_makes_of_the_same_pixels(wide: Path, tmp_path: Path) -> None:
    """The file holds what a platform would make of the protected photo: the very JPEG."""
    how = {"protection": "noise", "for_width": WIDTH, "budget": 6}
    (lossless,) = protect(wide, tmp_path / "png", **how)
    (record,) = protect(wide, tmp_path / "jpg", jpeg=75, **how)
    posted = purify_images(
        Image.open(lossless.photos[0].output).convert("RGB"),
        specs.method("purifiers", "post:1080:width=160"),
    )
    assert np.array_equal(pixels_of(record.photos[0].output), np.array(posted).astype(int))
    assert record.photos[0].output.name == "a.jpg"
    assert record.photos[0].bytes == record.photos[0].output.stat().st_size


def test_what_is_left_is_told_of_each_photo(
    sample_files: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    left = {}
    for quality in (95, 30, 5):
        out = tmp_path / str(quality)
        words = ["protect", str(sample_files[0]), "-o", str(out), "--jpeg", str(quality)]
        words += ["--protection", "photoguard", "--steps", "12"]
        assert main(words) == 0
        told = capsys.readouterr().out
        (photo,) = json.loads((out / FOLDER / "record.json").read_text())["photos"]
        left[quality] = photo["left"]
        assert f"{photo['left']:.0%}" in told and "file" in told
    assert left[95] > left[30] > left[5] and left[95] > 0.8


def test_a_trained_protection_is_looked_at_too(sample_files: list[Path], tmp_path: Path) -> None:
    (record,) = protect(sample_files[0], tmp_path / "out", protection="learned", jpeg=75)
    assert 0.3 < (record.photos[0].left or 0) < 1.3
    assert any("sd:tiny" in note for note in record.notes)


def test_another_width_or_jpeg_is_another_job(wide: Path, tmp_path: Path) -> None:
    how = {"protection": "noise", "budget": 6}
    protect(wide, tmp_path / "out", for_width=WIDTH, jpeg=75, **how)
    assert not protect(wide, tmp_path / "out", for_width=WIDTH, jpeg=75, **how)[0].fresh
    for other in ({"for_width": 170, "jpeg": 75}, {"for_width": WIDTH, "suffix": ".jpg"}):
        with pytest.raises(UserError, match="exists already"):
            protect(wide, tmp_path / "out", **how, **other)


def test_a_mask_is_made_as_narrow(wide: Path, tmp_path: Path) -> None:
    mask = Image.new("L", (180, 240), 0)
    mask.paste(255, (0, 0, 180, 60))
    mask.save(tmp_path / "mask.png")
    out = tmp_path / "out"
    protect(wide, out, protection="noise", for_width=WIDTH, budget=6, mask=tmp_path / "mask.png")
    change = np.abs(pixels_of(out / "a.png") - narrow(wide)).max((1, 2))
    assert change[:50].min() == 6 and change[56:].max() == 0


def test_audits_compare_with_originals_as_narrow(wide: Path, tmp_path: Path) -> None:
    protect(wide, tmp_path / "out", protection="noise", for_width=WIDTH, budget=6)
    (subject,) = find_subjects(tmp_path / "out")
    (clean,), (protected,) = subject.clean.photos(), subject.protected.photos()
    assert clean.shape == protected.shape == (3, 213, WIDTH)
    assert round(255 * (clean - protected).abs().max().item()) == 6


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"for_width": 40}, "width 40 is out of range"),
        ({"jpeg": 0}, "quality 0 is out of range"),
        ({"jpeg": 75, "suffix": ".webp"}, "beside another format"),
        ({"jpeg": 75, "quality": 80}, "beside another format"),
    ],
)
def test_mistakes_are_named(how: dict, said: str, wide: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        protect(wide, tmp_path / "out", protection="noise", **how)


def test_a_strip_that_would_become_too_low_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (900, 100), "teal").save(tmp_path / "strip.png")
    with pytest.raises(UserError, match="160 pixels wide it would be 18 high"):
        protect(tmp_path / "strip.png", tmp_path / "out", protection="noise", for_width=WIDTH)
