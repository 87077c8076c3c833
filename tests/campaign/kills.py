"""Kill commands at random moments, run them again, and compare with runs that nobody disturbed.

A command is killed by SIGKILL either right before one of the calls by which it changes files under
its output folder (drawn from all of them), or at a moment drawn from the time that it takes. Then
the same command runs again, to the end. Files, their bytes and the originals have to be as after an
undisturbed run; timings.json alone may differ. Clocks that are written into records stand still.

Commands are forked from this process, which has loaded everything: starting Python anew would take
longer than most of them run.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np
from helpers import small_model
from PIL import Image

from cloakwork import cli
from cloakwork.evaluation import statistics
from cloakwork.evaluation.design import Subject
from cloakwork.evaluation.sources import source

COMMANDS = ("protect", "purify", "attack", "audit", "bench", "score", "inspect")
SIDE = 64  # pixels of the photos
FOLDER = "CLOAKWORK_CAMPAIGN"  # environment: where the recipe finds photos and model
PATIENCE = 300  # seconds that no command takes
TWICE = 0.25  # of the trials: the second run is killed too
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}  # audit events
TRAINED = "lora:steps=3,batch=1,class_images=1,sampling.n=1,sampling.steps=2"
EDITED = "sdedit:strengths=0.3,steps=4"


@dataclass
class Counts:
    """What became of one command's trials."""

    kills: int = 0
    too_late: int = 0
    """the command had ended before it was to be killed"""
    trials: int = 0
    faults: list[str] = field(default_factory=list)


def run(seed: int, count: int, folder: Path) -> Counter[str]:
    """Kill every command; see `by_command`.

    Returns:
        Command -> kills after which it went on as if nothing had happened; and faults.
    """
    outcomes = Counter[str]()
    for command, counts in by_command(seed, count, folder.absolute()).items():
        outcomes[command] += counts.kills - len(counts.faults)
        for fault in counts.faults:
            outcomes[f"FAULT: {command}"] += 1
            print(f"{seed} {command} {fault}", flush=True)
    return outcomes


def by_command(
    seed: int, count: int, folder: Path, commands: Sequence[str] = COMMANDS
) -> dict[str, Counts]:
    """Kill commands until each has been killed its share of `count` times.

    Args:
        seed: of the moments.
        count: kills of all commands together, at least.
        folder: for photos, models and outputs; what a fault has left stays there.
        commands: of COMMANDS.

    Returns:
        Command -> what became of it.
    """
    bench = Bench(folder)
    counts = {command: Counts() for command in commands}
    for command, counted in counts.items():
        draws = random.Random(f"{seed} {command}")
        out = folder / command / "out"  # always the same: records name it
        whole, changes, seconds = bench.undisturbed(command, out)
        while counted.kills * len(commands) < count:
            counted.trials += 1
            shutil.rmtree(out, ignore_errors=True)
            killed = 0
            for _ in range(1 + (draws.random() < TWICE)):
                at_change = draws.random() < 0.5
                status = bench.execute(
                    command,
                    out,
                    change=draws.randint(1, changes) if at_change else 0,
                    seconds=None if at_change else draws.uniform(0, seconds),
                )
                killed += status == -signal.SIGKILL
            counted.kills += killed
            counted.too_late += not killed
            if killed and (fault := bench.fault(command, out, whole)):
                counted.faults.append(f"{counted.trials}: {fault}")
                out.rename(out.with_name(str(counted.trials)))
    return counts


@dataclass
class Bench:
    """What commands are given, and how they are run."""

    folder: Path

    def __post_init__(self) -> None:
        self.photos, self.safe = self.folder / "photos", self.folder / "safe"
        self.model = self.folder / "model"
        os.environ |= {
            "CLOAKWORK_CACHE": str(self.folder / "cache"),
            "CLOAKWORK_CHECKPOINT_SECONDS": "0",
            FOLDER: str(self.folder),
        }
        for number, noun in enumerate(("cup", "cup", "cat")):
            path = self.photos / noun / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(number)).save(path)
        small_model.save(self.model)
        words = ["protect", str(self.photos), "-o", str(self.safe), "--protection", "noise"]
        assert self.execute("protect", self.safe, words=words) == 0, self.log(self.safe)
        self.originals = content(self.photos) | content(self.safe)

    def words(self, command: str, out: Path) -> list[str]:
        """Return a command line."""
        victim = ("--victim", self.model)
        surrogate = ("--surrogate", self.model)
        trained = ("--attacker", TRAINED, "--sample-every", "2", *victim)
        edited = ("--attacker", EDITED, "--metrics", "clip_iqac", *victim)
        arguments = {
            "protect": (self.photos, "--protection", "photoguard:steps=3", *surrogate),
            "purify": (self.safe, "--purifier", "noise+jpeg"),
            "attack": (self.safe / "cup", "--purifier", "jpeg", *trained),
            "audit": (self.safe, "--purifier", "none", *edited),
            "bench": ("--recipe", "campaign.kills.recipe"),
            "score": (self.safe, "--metric", "linf", "--metric", "psnr"),
            "inspect": (self.safe, "--autoencoder", "tiny-b", "--metrics", "clip_iqac", *trained),
        }[command]
        where = ["--out", out / "scores.json"] if command == "score" else ["-o", out]
        return [str(word) for word in (command, *arguments, *where)]

    def undisturbed(self, command: str, out: Path) -> tuple[dict[str, bytes], int, float]:
        """Run a command twice, here and in a fork.

        Returns:
            What it leaves, how many changes of files that takes, and how many seconds.
        """
        shutil.rmtree(out, ignore_errors=True)
        with redirect_stdout(io.StringIO()):  # all that forks are to find loaded
            cli.main(self.words(command, out))
        shutil.rmtree(out)
        begun = time.monotonic()
        assert self.execute(command, out) == 0, self.log(out)
        seconds = time.monotonic() - begun
        return content(out), int(out.with_suffix(".changes").read_text()), seconds

    def fault(self, command: str, out: Path, whole: dict[str, bytes]) -> str:
        """Run a killed command again; return what is not as if it had not been killed."""
        if status := self.execute(command, out):
            return f"status {status}: {self.log(out).strip()[-500:]}"
        found = content(out)
        if "Traceback" in self.log(out):
            return self.log(out)
        if lost := sorted(whole.keys() - found.keys()):
            return f"missing {lost}"
        if left := sorted(found.keys() - whole.keys()):
            return f"left over {left}"
        if other := sorted(name for name in whole if whole[name] != found[name]):
            return f"other bytes {other}"
        if content(self.photos) | content(self.safe) != self.originals:
            return "the originals have changed"
        return ""

    def log(self, out: Path) -> str:
        """Return what the last run into a folder printed."""
        return out.with_suffix(".log").read_text()

    def execute(
        self,
        command: str,
        out: Path,
        *,
        change: int = 0,
        seconds: float | None = None,
        words: list[str] | None = None,
    ) -> int:
        """Run a command in a fork.

        Args:
            command: of COMMANDS.
            out: its folder.
            change: it is killed right before this change of a file, counted from 1 (0: never).
            seconds: it is killed after so many (None: never).
            words: another command line.

        Returns:
            Its exit status; of one that was killed -9.
        """
        out.parent.mkdir(parents=True, exist_ok=True)
        child = os.fork()
        if not child:
            become(words or self.words(command, out), out, change)
        end = time.monotonic() + (PATIENCE if seconds is None else seconds)
        while time.monotonic() < end:
            found, status = os.waitpid(child, os.WNOHANG)
            if found:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def become(words: list[str], out: Path, change: int) -> NoReturn:
    """Turn this process into a run of a command, whose clocks stand still."""
    log = os.open(out.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w") for stream in (1, 2))
    status = 70
    try:
        time.strftime = lambda *_: "2001-01-01T00:00:00Z"
        time.monotonic = time.process_time = time.perf_counter = lambda: 0.0
        statistics.DRAWS = 20  # of the bootstrap: seconds of every run
        changes = watch(out, change)
        status = cli.main(words)
        out.with_suffix(".changes").write_text(str(len(changes)))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def watch(out: Path, change: int) -> list[str]:
    """Note every change of a file below a folder right before it is made, and die at one."""
    changes: list[str] = []

    def hook(event: str, args: tuple[object, ...]) -> None:
        if event == "open":
            flags = args[2]
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event not in WRITES:
            return
        if isinstance(args[0], str | bytes | os.PathLike):
            name = os.fsdecode(args[0])
            if name.startswith(f"{out}{os.sep}") or name == str(out):
                changes.append(name)
                if len(changes) == change:
                    os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return changes


def content(folder: Path) -> dict[str, bytes]:
    """Return all files below a folder, but for timings and the log; empty folders count too."""
    return {
        path.relative_to(folder).as_posix(): b"" if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.name not in ("timings.json", "bench.log")
    }


def picture(number: int) -> np.ndarray:
    """Return a picture made of waves, SIDE x SIDE x 3, uint8."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    waves = [np.sin((number + 2) * (k + 1) * (x + k * y)) for k in range(3)]
    return np.stack([(127.5 * (1 + wave)).astype(np.uint8) for wave in waves], -1)


def recipe():
    """Return a grid of one protection and one attacker."""
    from cloakwork.benchmark.grids import Grid, Table, threat_model

    folder = Path(os.environ[FOLDER])
    subjects = tuple(
        Subject(place.name, photos, photos, 0, photos, place.name)
        for place in sorted((folder / "photos").iterdir())
        for photos in [source(sorted(place.iterdir()))]
    )
    edits = threat_model(
        "edit", EDITED, prompts=("a photo of a cup",), victim=str(folder / "model")
    )
    tables = (Table("Edits", ("noise",), (edits,), subjects, ("psnr",)),)
    return Grid("kills", "Commands that are killed.", tables)
