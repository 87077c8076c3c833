"""Photos that may change only where a mask is white."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.spies import pixels_of
from PIL import Image

from cloakwork.errors import UserError
from cloakwork.protections import noise, photoguard
from cloakwork.workflows.protect import protect


@pytest.fixture
def photo(sample_files: list[Path]) -> Path:
    return sample_files[0]  # 168 x 128


@pytest.fixture
def mask(photo: Path, tmp_path: Path) -> Path:
    """White on its left third."""
    width, height = Image.open(photo).size
    drawing = Image.new("L", (width, height), 0)
    drawing.paste(255, (0, 0, width // 3, height))
    drawing.save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


@pytest.mark.parametrize(
    ("name", "config"),
    [("noise", noise.Config(budget=8)), ("photoguard", photoguard.Config(budget=8, steps=2))],
)
def test_photos_change_only_where_the_mask_is_white(
    name: str, config: object, photo: Path, mask: Path, tmp_path: Path, small_name: str
) -> None:
    out = tmp_path / "out"
    protect(photo, out, protection=name, config=config, surrogates=[small_name], mask=mask)
    change = np.abs(pixels_of(out / photo.name) - pixels_of(photo))
    third = change.shape[1] // 3
    assert change[:, third:].max() == 0
    assert change[:, :third].max() == 8


def test_another_mask_is_another_job(photo: Path, mask: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    protect(photo, out, protection="noise", mask=mask)
    again = protect(photo, out, protection="noise", mask=mask)
    assert not again[0].fresh
    Image.open(mask).point(lambda v: 255 - v).save(mask)
    with pytest.raises(UserError, match="exists already"):
        protect(photo, out, protection="noise", mask=mask)


def test_every_photo_has_its_mask_in_a_folder(
    sample_files: list[Path], mask: Path, tmp_path: Path
) -> None:
    (tmp_path / "masks").mkdir()
    mask.rename(tmp_path / "masks" / mask.with_name(sample_files[0].name).name)
    with pytest.raises(UserError) as refused:
        protect(sample_files, tmp_path / "out", protection="noise", mask=tmp_path / "masks")
    assert len(refused.value.sentences) == len(sample_files) - 1
    assert not (tmp_path / "out").exists()
