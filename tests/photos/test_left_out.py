"""Files in folders of photos that are no photos are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from cloakwork.photos.left_out import left_out
from cloakwork.photos.sets import find_sets


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("in/a.jpg", "in/anim.gif", "in/sub/b.png", "in/.hidden/c.gif"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (70, 70)).save(name)
    return tmp_path


def notes(*photos: str, beside: tuple[Path, ...] = ()) -> list[str]:
    return left_out(photos, Path("out"), find_sets(photos, Path("out")), beside)


def test_they_are_named_in_one_line(place: Path) -> None:
    for name in ("in/Thumbs.db", "in/.DS_Store", "in/sub/raw.cr2", "in/sub/b.txt"):
        Path(name).write_bytes(b"II*\0 and more")
    assert notes("in", beside=(place / "in/sub/b.txt",)) == [
        "Passed over: 2 files, no photos that can be read here: anim.gif, sub/raw.cr2."
    ]


def test_of_many_the_first_are_named(place: Path) -> None:
    for i in range(11):
        Path(f"in/{i:02}.npz").write_bytes(b"numbers")
    (note,) = notes("in")
    assert "12 files" in note and "09.npz, and 2 more." in note and "anim.gif" not in note


def test_nothing_is_said_where_nothing_is_left_out(place: Path) -> None:
    assert notes("in/sub") == notes("in/a.jpg") == []
    Path("in/sub/up").symlink_to(place / "in/sub/b.png")
    assert notes("in/sub") == []


def test_links_that_lead_nowhere_are_named(place: Path) -> None:
    Path("in/sub/gone").symlink_to("nowhere")
    assert notes("in/sub") == [
        "Passed over: 1 file, which is no photo that can be read here: gone."
    ]
