"""One run at a time in an output folder, and what it refuses to write through."""

from __future__ import annotations

import errno
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloakwork.errors import UserError
from cloakwork.files import FOLDER, atomic_write
from cloakwork.files.parts import new_part
from cloakwork.workflows import locks
from cloakwork.workflows.attack import attack
from cloakwork.workflows.locks import locked
from cloakwork.workflows.protect import protect
from cloakwork.workflows.purify import purify

HOLDS = """
import sys, time
from pathlib import Path
from cloakwork.workflows.locks import locked
with locked(Path(sys.argv[1]), "purify"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(out)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    says = rf"{out} is being written by `cloakwork purify` \(process {child.pid} on .*, since 2"
    with pytest.raises(UserError, match=says) as refused, locked(out, "protect"):
        pass
    assert len(refused.value.sentences) == 1
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert (out / FOLDER / "lock").exists()
    with locked(out, "protect") as notes:
        assert not notes
    assert not (out / FOLDER / "lock").exists()


def test_nothing_comes_of_a_run_that_does_nothing(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with locked(out, "protect"):
        assert (out / FOLDER / "lock").exists()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("run", [protect, purify, attack])
def test_a_second_run_is_refused(run, sample_files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with locked(out, "protect"):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UserError, match="is being written by `cloakwork protect`"):
            run(sample_files[0], out)
        assert sorted(tmp_path.rglob("*")) == before


def test_a_lock_that_nobody_wrote_in_is_somebodys(tmp_path: Path) -> None:
    with locked(tmp_path, "protect"):
        (tmp_path / FOLDER / "lock").write_text("{")
        with pytest.raises(UserError, match="by another run"), locked(tmp_path, "protect"):
            pass


@pytest.mark.parametrize("link", [FOLDER, f"{FOLDER}/more", f"{FOLDER}/lock"])
def test_links_in_the_place_of_records_are_refused(
    link: str, sample_files: list[Path], tmp_path: Path
) -> None:
    out, originals = tmp_path / "out", tmp_path / "originals"
    originals.mkdir()
    (originals / "sheet.png").write_bytes(b"an original")
    (out / link).parent.mkdir(parents=True)
    (out / link).symlink_to(originals)
    with pytest.raises(UserError, match=f"{re.escape(str(out / link))} is a link"):
        protect(sample_files[0], out, protection="none")
    assert (originals / "sheet.png").read_bytes() == b"an original"
    assert list(originals.iterdir()) == [originals / "sheet.png"]


def test_without_locks_a_run_goes_on_and_says_so(
    sample_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(file: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks, "try_lock", none)
    (record,) = protect(sample_files[0], tmp_path, protection="none")
    assert any("cannot be locked (No locks available)" in note for note in record.notes)
    assert not (tmp_path / FOLDER / "lock").exists()


def test_what_a_killed_run_left_goes(tmp_path: Path) -> None:
    folder, output = tmp_path / FOLDER, tmp_path / "a.png"
    folder.mkdir()
    foreign = new_part(tmp_path / "holiday.png")
    for left in (new_part(output), tmp_path / ".a.png.part", foreign):
        left.touch()
    with locked(tmp_path, "protect", [output]), atomic_write(output) as part:
        assert set(tmp_path.iterdir()) == {folder, part, foreign}, "only its own outputs' parts"
