"""Parts beside other processes, after kills and in the place of planted links."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from cloakwork.files import atomic_write, remove, write_json
from cloakwork.files.parts import PART, new_part, remove_parts
from cloakwork.files.tensors import write_tensors


@pytest.fixture(scope="session")
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def left(path: Path, pid: int) -> Path:
    """What a process leaves that is killed while it writes a file."""
    part = new_part(path)
    part = part.with_name(part.name.replace(f"-{os.getpid()}-", f"-{pid}-"))
    part.write_bytes(b"half")
    return part


def test_two_writers_have_names_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with atomic_write(path) as first, atomic_write(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.png", "n" * 250, "\u732b" * 80])
def test_what_killed_processes_left_goes(name: str, dead: int, tmp_path: Path) -> None:
    path = tmp_path / name
    left(path, dead)
    foreign, living = left(tmp_path / "other.png", dead), left(path, os.getpid())
    write_json(path, {})
    assert set(tmp_path.iterdir()) == {path, foreign, living}
    os.utime(living, (time.time() - 4000,) * 2)  # nobody writes for an hour
    remove(path)
    assert list(tmp_path.iterdir()) == [foreign]


def test_scratch_folders_of_killed_processes_go(dead: int, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    scratch = Path(f"{left(path, dead)}.d")
    scratch.mkdir()
    (scratch / "tensors").write_bytes(b"half")
    write_tensors(path, {"x": torch.zeros(1)})
    assert list(tmp_path.iterdir()) == [path]


def test_a_planted_link_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, out = tmp_path / "original", tmp_path / "out"
    original.write_text("mine")
    out.mkdir()
    old = out / ".a.json.part"  # the name that every process once wrote to
    old.symlink_to(original)
    write_json(out / "a.json", {})
    assert original.read_text() == "mine" and old.is_symlink(), "it may be somebody's"
    remove_parts(out, ["a.json"], alone=True)
    assert original.read_text() == "mine" and not old.is_symlink()
    # even one with the very name that will be written to
    monkeypatch.setattr("cloakwork.files.parts.token_hex", lambda n: "0" * 2 * n)
    planted = new_part(out / "a.json")
    assert PART.fullmatch(planted.name)
    planted.symlink_to(original)
    with pytest.raises(Exception, match="File exists"):
        write_json(out / "a.json", {"other": 1})
    assert original.read_text() == "mine" and planted.is_symlink()


def test_folders_behind_links_stay(dead: int, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("mine")
    link = left(tmp_path / "b.png", dead)
    link.unlink()
    link.symlink_to(tmp_path / "photos")
    remove_parts(tmp_path)
    assert not link.is_symlink() and (tmp_path / "photos" / "a.png").read_text() == "mine"
