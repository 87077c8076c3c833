"""at_hand: what is kept of photos is never more than is computed from it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from cloakwork.photos.photo import load_photo
from cloakwork.workflows import at_hand
from cloakwork.workflows.at_hand import AtHand


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{i}.png" for i in range(4)]
    for i, file in enumerate(files):
        Image.new("RGB", (1100, 1040) if i == 3 else (70, 70), (i, 7, 9)).save(file)
    return files


def test_of_sets_behind_the_first_no_more_is_kept_than_fits(
    files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(at_hand, "MOST", 3 * 70 * 70)
    kept = AtHand(frozenset([files[1]]))
    for file in files:
        kept.keep(load_photo(file))
    assert list(kept.kept) == files[:2], "one of the first set, and one that fits"
    assert [kept.take(file)[0][0, 0, 0].item() for file in files[:3]] == [0, 1, 2]
    assert not kept.kept


def test_a_large_photo_is_kept_as_its_working_copy_alone(files: list[Path]) -> None:
    kept = AtHand(frozenset(files))
    for file in files:
        kept.keep(load_photo(file))
    (small, photo), (large, none) = kept.take(files[0]), (kept.look(files[3]), None)
    assert photo is not None and photo.pixels is small
    assert large.shape == (3, 1024, 1083) and large.dtype == torch.uint8
    assert large.untyped_storage().nbytes() == large.numel()
    for file in files[3], files[3]:  # kept, and not
        again, none = kept.take(file)
        assert none is None and torch.equal(again, large)
    kept.forget(files)
    assert not kept.kept
