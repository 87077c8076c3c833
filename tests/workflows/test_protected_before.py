"""A photo that was protected before is refused: the changes of two protections add up."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from cloakwork.errors import UserError
from cloakwork.workflows.protect import protect


@pytest.fixture
def safe(sample_files: list[Path], tmp_path: Path) -> Path:
    protect(sample_files[:1], tmp_path / "safe", protection="noise", budget=7)
    return tmp_path / "safe"


def refused(photos: Path, out: Path) -> None:
    with pytest.raises(UserError, match="protected before, by noise with changes of up to 7;"):
        protect(photos, out, protection="noise")
    assert not list(out.glob("*.png"))


def test_it_is_known_wherever_a_record_is_near(
    safe: Path, sample_files: list[Path], tmp_path: Path
) -> None:
    (photo,) = safe.glob("*.png")
    refused(safe, tmp_path / "out")
    refused(photo, tmp_path / "out")
    shutil.move(safe, tmp_path / "moved")
    (tmp_path / "moved" / "deep").mkdir()
    (tmp_path / "moved" / photo.name).rename(tmp_path / "moved" / "deep" / "other name.png")
    refused(tmp_path / "moved", tmp_path / "out")
    refused(tmp_path / "moved" / "deep", tmp_path / "out")
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "moved" / "deep" / "other name.png", tmp_path / "copy")
    with pytest.raises(UserError, match=rf"Take the original {sample_files[0]}, or"):
        protect(tmp_path / "copy", tmp_path / "moved", protection="noise")


def test_with_force_it_is_told(safe: Path, tmp_path: Path) -> None:
    records = protect(safe, tmp_path / "out", protection="noise", force=True)
    (photo,) = safe.glob("*.png")
    assert records.summary.notes[0].startswith(f"{photo.name}: Protected before, by noise")


def test_unchanged_and_unknown_photos_pass(sample_files: list[Path], tmp_path: Path) -> None:
    protect(sample_files[:1], tmp_path / "as it was", protection="none")
    (tmp_path / "as it was/.cloakwork/odd").mkdir()
    (tmp_path / "as it was/.cloakwork/odd/record.json").write_text('{"photos": [1, {}]}')
    protect(tmp_path / "as it was", tmp_path / "out", protection="noise")
