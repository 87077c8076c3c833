"""Files that are written and read whatever their names and whatever has become of them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloakwork.errors import Unwritable
from cloakwork.evaluation.typed_json import from_json
from cloakwork.files import FOLDER, keep_private, parse_json, read_json, remove, write_json


def test_the_longest_names_are_written(tmp_path: Path) -> None:
    for name in ("a" * 250 + ".json", "é" * 125 + ".json"):
        write_json(tmp_path / name, {"a": 1})
        assert read_json(tmp_path / name) == {"a": 1}
        assert [p.name for p in tmp_path.iterdir()] == [name]
        remove(tmp_path / name)
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"{", b"\xff{}", b"[" * 200_000, b"[]", b'{"a": 1'])
def test_damaged_json_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    assert read_json(tmp_path / "a.json") == {}
    if content != b"[]":
        with pytest.raises(ValueError):
            parse_json(content)


def test_what_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "folder.json/inside").mkdir(parents=True)
    (tmp_path / "file").touch()
    for name, advice in {
        "folder.json": "take away what is in its place",
        "file/a.json": "take away what is in its place",
        "a" * 300: "shorten the name",
    }.items():
        with pytest.raises(Unwritable, match=advice):
            write_json(tmp_path / name, {})


@dataclass
class _Row:
    name: str
    file: Path
    size: int
    looks: float
    found: Path | None
    notes: list[str]


@dataclass
class _Record:
    rows: list[_Row]
    more: str = ""


ROW: dict[str, Any] = {"name": "a", "file": "b.png", "size": 3, "looks": 1}
ROW |= {"found": None, "notes": ["x"]}


def test_json_comes_back_as_what_it_was_written_from() -> None:
    read = from_json(_Record, {"rows": [ROW | {"newer": 1}, ROW | {"found": "c"}]})
    assert read is not None and read.more == ""
    assert read.rows[0] == _Row("a", Path("b.png"), 3, 1.0, None, ["x"])
    assert read.rows[1].found == Path("c")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 5),
        ("name", None),
        ("file", ""),
        ("file", "a\0b"),
        ("file", "\ud800"),
        ("size", True),
        ("size", 1.5),
        ("looks", "1"),
        ("looks", 10**400),
        ("found", {}),
        ("notes", "x"),
        ("notes", [["x"]]),
    ],
)
def test_a_field_of_another_type_is_no_record(field: str, value: Any) -> None:
    assert from_json(_Record, {"rows": [ROW]}) is not None
    assert from_json(_Record, {"rows": [ROW, ROW | {field: value}]}) is None
    assert from_json(_Record, {"rows": [{k: v for k, v in ROW.items() if k != field}]}) is None


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize(
    ("file", "around", "folder", "record"),
    [
        (0o644, 0o755, 0o755, 0o644),
        (0o640, 0o755, 0o750, 0o640),
        (0o600, 0o755, 0o700, 0o600),
        (0o644, 0o700, 0o700, 0o600),
        (0o644, 0o711, 0o755, 0o644),
        (0o622, 0o755, 0o700, 0o600),
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_what_tells_of_photos_is_as_private_as_they_are(
    file: int, around: int, folder: int, record: int, old: bool
) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        root.chmod(0o755)
        (root / "photos").mkdir()
        for name, its in (("a", 0o666), ("b", file)):
            (root / "photos" / name).touch()
            (root / "photos" / name).chmod(its)
        (root / "photos").chmod(around)
        told = root / "out" / FOLDER
        if old:
            told.mkdir(parents=True)
        keep_private(told, [root / "photos/a", root / "photos/b"])
        write_json(told / "set" / "record.json", {})
        write_json(root / "out" / "other.json", {})
        assert (mode(told), mode(told / "set" / "record.json")) == (folder, record)
        assert mode(root / "out" / "other.json") == 0o644
