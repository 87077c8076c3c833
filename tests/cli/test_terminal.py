"""Names of files on their way to the terminal, and from it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cloakwork import cli
from cloakwork.cli.common import parse
from cloakwork.cli.score import ScoreFlags

ESCAPE = "a\x1b[31m\x9b1mb.png"
LATIN = os.fsdecode(b"caf\xe9.png")


@pytest.fixture
def folder(tmp_path: Path, sample_files: list[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (ESCAPE, LATIN, "-dash.png", "good.png"):
        target = tmp_path / "in\x1b[2J" / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy(sample_files[0], target)
    monkeypatch.chdir(target.parent)
    return target.parent


NOISE = ["--protection", "noise"]


def test_no_escape_sequence_reaches_the_terminal(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """In tables, paths, notes and messages."""
    safe, pure = f"{folder}/../safe\x1b[1m", f"{folder}/../pure\x1b[1m"
    asked = {
        ("protect", str(folder), "-o", safe, *NOISE): 0,
        ("protect", str(folder), "-o", safe, "--protection", "noise", "--budget", "3"): 2,
        ("protect", str(folder), "-o", safe, "--each", "--force", *NOISE): 0,
        ("purify", safe, "-o", pure): 0,
        ("undo", safe): 0,
        ("score", safe, "--metric", "psnr"): 0,
        ("protect", f"{folder}/missing\x1b.png", "-o", safe): 2,
    }
    for words, status in asked.items():
        assert cli.main(list(words)) == status, words
        out, err = capfd.readouterr()
        assert not {"\x1b", "\x9b", LATIN[3]} & set(out + err), words
        assert r"\x1b" in out + err or words[0] == "score"
        assert r"caf\xe9" in out + err or words[0] not in ("undo", "purify")


WIPE = "\x1b[2J"  # clears the screen


@pytest.mark.parametrize("colours", [False, True])
@pytest.mark.parametrize(
    "words",
    [
        ("protect", "in", "-o", "out", f"--budgt{WIPE}", "3"),
        ("protect", "in", "-o", "out", f"--budgt={WIPE}"),
        ("purify", "in", "-o", "out", f"--dtype={WIPE}"),
        ("score", "in", f"-{WIPE}"),
        ("attack", "in", "-o", "out", "--seed", WIPE),
        ("undo", "in", WIPE),
    ],
    ids=lambda words: words[0],
)
def test_what_is_wrong_with_words_is_told_without_their_escapes(
    words: tuple[str, ...],
    colours: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setattr("tyro._fmtlib._FORCE_ANSI", colours)
    with pytest.raises(SystemExit) as stop:
        cli.main(list(words))
    out, err = capfdbinary.readouterr()
    assert stop.value.code == 2 and not out
    assert WIPE.encode() not in err and rb"\x1b[2J" in err
    assert (b"\x1b[" in err) == colours and err.count(b"--help") == 1


def test_words_that_a_terminal_obeys_are_read_as_they_are(
    capfd: pytest.CaptureFixture[str],
) -> None:
    found = parse(ScoreFlags, "score", "", ["in", "--prompt", WIPE])
    assert found.prompt == WIPE
    with pytest.raises(SystemExit) as stop:
        cli.main(["score", WIPE, "--help"])
    out, err = capfd.readouterr()
    assert not stop.value.code and out.count("usage: cloakwork score") == 1 and not err


def test_a_name_that_is_not_utf_8_on_a_strict_terminal(folder: Path) -> None:
    command = [sys.executable, "-m", "cloakwork", "protect", str(folder), "-o", "../out", *NOISE]
    strict = os.environ | {"PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run(command, capture_output=True, env=strict, check=False)
    assert done.returncode == 0, done.stderr
    assert rb"caf\xe9.png" in done.stdout and b"\x1b" not in done.stdout


def test_a_name_with_a_leading_dash_is_told(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = sorted(file.name for file in folder.iterdir())
    assert cli.main(["protect", *names, "-o", "../out", *NOISE]) == 2
    (sentence,) = capfd.readouterr().err.splitlines()
    assert "'./-dash.png'" in sentence and "after --." in sentence
    assert cli.main(["protect", "./-dash.png", "-o", "../out", *NOISE]) == 0
    assert cli.main(["protect", "-o", "../again", *NOISE, "--", "-dash.png"]) == 0
    assert Path("../again/-dash.png").is_file() and Path("../out/-dash.png").is_file()
