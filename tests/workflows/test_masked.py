"""Photos that may change only where a mask is white."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.spies import pixels_of
from PIL import Image

from cloakwork.errors import Unscored, UserError
from cloakwork.models.faces import Face
from cloakwork.protections import noise, photoguard
from cloakwork.workflows import face_masks
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


def test_a_budget_of_zero_within_a_mask_changes_nothing(
    photo: Path, mask: Path, tmp_path: Path, small_name: str
) -> None:
    how = {"protection": "pid", "budget": 0, "steps": 2, "surrogates": [small_name]}
    protect(photo, tmp_path / "out", mask=mask, **how)
    assert np.array_equal(pixels_of(tmp_path / "out" / photo.name), pixels_of(photo))


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


@dataclass
class Looking:
    """A detector that finds a face in the middle of all photos but grey ones."""

    def find(self, x: torch.Tensor) -> list[Face]:
        height, width = x.shape[-2:]
        box = (width / 2 - 16, height / 2 - 16, width / 2 + 16, height / 2 + 16)
        return [] if x.std() == 0 else [Face(1024.0, 1.0, torch.zeros(128), box)]


def test_photos_change_around_faces_alone(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_masks, "load_faces", Looking)
    Image.new("RGB", (96, 96), (90, 90, 90)).save(tmp_path / "grey.png")
    both = [photo, tmp_path / "grey.png"]
    results = protect(both, tmp_path / "out", protection="noise", faces=True)
    change = np.abs(pixels_of(tmp_path / "out" / photo.name) - pixels_of(photo)).max(-1)
    height, width = change.shape
    assert change[height // 2, width // 2 - 30 : width // 2 + 30].min() > 0
    assert change[:, : width // 2 - 33].max() == 0
    assert change[: height // 2 - 33].max() == 0
    # a circle: nothing in the corners of the square around it
    assert change[height // 2 - 31, width // 2 - 31] == 0
    grey = np.abs(pixels_of(tmp_path / "out" / "grey.png") - 90)
    assert grey.min() > 0
    assert "No face was found in grey.png, which may therefore change everywhere." in " ".join(
        note for result in results for note in result.notes
    )


def test_a_mask_beside_faces_and_faces_without_a_detector_are_one_sentence(
    photo: Path, mask: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="both say where photos may change"):
        protect(photo, tmp_path / "out", protection="noise", mask=mask, faces=True)

    def none() -> None:
        raise Unscored("There is none here.")

    monkeypatch.setattr(face_masks, "load_faces", none)
    with pytest.raises(UserError, match=r"needs a detector of faces\. There is none here\."):
        protect(photo, tmp_path / "out", protection="noise", faces=True)
