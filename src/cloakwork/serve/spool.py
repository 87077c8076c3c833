"""The spool: what was asked for and is not delivered yet, a folder for each job.

A job that is done is on the disk before anybody hears that it is. So it is found again after
whatever ends the program, and only then; of jobs that were not done, nothing is left but that.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cloakwork.errors import UserError
from cloakwork.evaluation.typed_json import from_json
from cloakwork.files import read_json, write_json
from cloakwork.web.jobs import Job
from cloakwork.workflows.locks import try_lock

DISK = (
    "The result could not be written; the service's disk may be full. Send the photo again later."
)
LOST = "The service was stopped before this photo was done; send it again."
STATE = "state.json"
PHOTO = "photo"  # as it came
THE_PHOTO = "The photo"  # what it is called in sentences


@dataclass(frozen=True)
class Kept:
    """What the disk says of a job."""

    owner: str
    state: str
    since: float
    """seconds since 1970: when it came to that state"""
    answer: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Entry:
    """A job of the spool."""

    folder: Path
    owner: str
    """of which token it is; "" where there are none"""
    job: Job
    since: float = field(default_factory=time.time)
    """when it was asked for, or was over"""

    @property
    def photo(self) -> Path:
        """The photo as it came; it goes when the job is over."""
        return self.folder / PHOTO

    @property
    def result(self) -> Path:
        """The protected photo of a job that is done."""
        return self.folder / str(self.job.answer.get("file", ""))

    def keep(self) -> None:
        """Write down how it stands, once it is over; what came is removed then."""
        if not self.job.over:
            return
        self.since = time.time()
        self._write()
        self.photo.unlink(missing_ok=True)

    def _write(self) -> None:
        state = self.job.state if self.job.over else "waiting"
        kept = Kept(self.owner, state, self.since, self.job.answer, self.job.faults)
        write_json(self.folder / STATE, asdict(kept))


class Spool:
    """The jobs that are not delivered yet.

    Args:
        root: folder of them all.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._entries: dict[str, Entry] = {}
        for folder in sorted(root.iterdir()):
            if folder.is_dir() and not folder.is_symlink():
                self._find(folder)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, id: str, owner: str) -> Entry | None:
        """Return a job of an owner."""
        entry = self._entries.get(id)
        return entry if entry is not None and entry.owner == owner else None

    def open(self, kind: str, owner: str, question: Mapping[str, Any]) -> Entry:
        """Make the folder of a new job; `add` makes the job known."""
        id = secrets.token_hex(16)
        folder = self.root / id
        folder.mkdir(mode=0o700)
        asked = {**question, "photo": str(folder / PHOTO), "out": str(folder)}
        entry = Entry(folder, owner, Job(kind, asked, id=id))
        entry.job.on_change = entry.keep
        return entry

    def add(self, entry: Entry) -> None:
        """Take up a job whose photo has come."""
        entry._write()
        self._entries[entry.job.id] = entry

    def remove(self, entry: Entry) -> None:
        """Forget a job, and delete all that there is of it."""
        self._entries.pop(entry.job.id, None)
        shutil.rmtree(entry.folder, ignore_errors=True)

    def outdated(self, seconds: float) -> list[Entry]:
        """Return the jobs that have been over for longer."""
        return [e for e in self if e.job.over and time.time() - e.since > seconds]

    def _find(self, folder: Path) -> None:
        """Take up what an earlier run has left in a folder."""
        kept = from_json(Kept, read_json(folder / STATE))
        if kept is None:  # the photo was still on its way: nobody knows this job
            return shutil.rmtree(folder, ignore_errors=True)
        job = Job("", {}, id=folder.name, answer=kept.answer, faults=kept.faults)
        entry = Entry(folder, kept.owner, job, kept.since)
        if kept.state == "done" and entry.result.is_file():
            job.state = "done"
        else:
            job.state, job.faults = "failed", kept.faults or [LOST]
            for left in folder.iterdir():
                if left.name != STATE:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
            if kept.state != "failed":
                entry.keep()
        self._entries[job.id] = entry


@contextmanager
def held(root: Path) -> Iterator[Spool]:
    """Hold the folder of a spool, which is made, for one program.

    Raises:
        UserError: another program holds it, or it cannot be made.
    """
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UserError(
            f"The spool {root} cannot be written ({error.strerror}); name another with --spool."
        ) from None
    try:
        try_lock(lock)
    except OSError:
        os.close(lock)
        raise UserError(
            f"The spool {root} is another service's; end that one, or name another with --spool."
        ) from None
    try:
        yield Spool(root)
    finally:
        os.close(lock)
