"""One run at a time writes an output folder: its lock, and the links that it refuses."""

from __future__ import annotations

import errno
import json
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from cloakwork.errors import Unwritable, UserError
from cloakwork.evaluation.typed_json import from_json
from cloakwork.files import FOLDER, read_json, unwritable
from cloakwork.files.parts import NOFOLLOW, remove_parts

TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)  # errors of a lock that somebody else holds
FAR = 1 << 30  # a byte that no file has: what Windows locks, nobody else may read


@dataclass(frozen=True)
class Holder:
    """The run that holds a lock, as the lock's file says it."""

    command: str
    pid: int
    host: str
    since: str


@contextmanager
def locked(out: Path, command: str, outputs: Iterable[Path] = ()) -> Iterator[list[str]]:
    """Hold an output folder for one run, and remove what killed runs left half-written in it.

    The lock is OUT/.cloakwork/lock. It ends with its process, however that ends.

    Args:
        out: the folder; it is made, and taken away again if nothing comes of it.
        command: the run's, for those who find the folder locked.
        outputs: the files beside the records that the run will write.

    Yields:
        Notes on the lock: that there is none, where the file system has none.

    Raises:
        UserError: another run holds the folder, or a link stands where records go.
        Unwritable: the folder may not be written.
    """
    folder = out / FOLDER
    path = folder / "lock"
    _refuse_links(folder, path)
    made = [place for place in (folder, out, *out.parents) if not place.exists()]
    holder = Holder(command, os.getpid(), platform.node(), time.strftime("%Y-%m-%d %H:%M:%S"))
    file, notes = _take(path, holder)
    try:
        _sweep(folder, outputs, alone=not notes)
        yield notes
    finally:
        _release(path, file)
        for place in made:
            with suppress(OSError):  # something came of it
                place.rmdir()


def _refuse_links(folder: Path, lock: Path) -> None:
    """Refuse links in the place of folders of records: they may lead to somebody's photos."""
    inside = (Path(place) / name for place, names, _ in os.walk(folder) for name in names)
    if links := [path for path in (folder, lock, *inside) if path.is_symlink()]:
        raise UserError(
            *[
                f"{path} is a link, through which nothing is written; "
                "remove it, or choose another output folder."
                for path in links
            ]
        )


def _sweep(folder: Path, outputs: Iterable[Path], alone: bool) -> None:
    """Remove parts of outputs, and in the folder of records those of dead processes."""
    names = defaultdict[Path, list[str]](list)
    for output in outputs:
        names[output.parent].append(output.name)
    for place in names:
        remove_parts(place, names[place], alone=alone)
    for place, _, _ in os.walk(folder):
        remove_parts(Path(place))


def _take(path: Path, holder: Holder) -> tuple[int, list[str]]:
    """Take a lock.

    Returns:
        The lock's open file, and a note where the file system has no locks.
    """
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | NOFOLLOW, 0o666)
        except OSError as error:
            raise Unwritable(unwritable(path, error)) from None
        try:
            notes = _lock(file, path)
            with suppress(FileNotFoundError):
                # who held it before may have removed the file since
                if os.path.samestat(os.fstat(file), os.stat(path)):
                    os.ftruncate(file, 0)
                    os.write(file, json.dumps(asdict(holder)).encode())
                    return file, notes
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _lock(file: int, path: Path) -> list[str]:
    """Lock an open file, and return a note where that is not possible."""
    try:
        try_lock(file)
    except OSError as error:
        if error.errno in TAKEN:
            raise UserError(_taken(path)) from None
        return [
            f"{path.parent.parent} cannot be locked ({error.strerror}): "
            "let no other run write there meanwhile."
        ]
    return []


def try_lock(file: int) -> None:
    """Lock an open file without waiting; an OSError says that it cannot be done."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(file, FAR, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        os.lseek(file, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _taken(path: Path) -> str:
    """Return the sentence on a folder that another run holds."""
    by = from_json(Holder, read_json(path))
    who = (
        f"`cloakwork {by.command}` (process {by.pid} on {by.host}, since {by.since})"
        if by
        else "another run"
    )
    return (
        f"{path.parent.parent} is being written by {who}; "
        "wait until it has ended, or choose another output folder."
    )


def _release(path: Path, file: int) -> None:
    """Give a lock up; its file goes too, while nobody else can have it."""
    if sys.platform == "win32":  # where open files stay
        os.close(file)
    with suppress(OSError):
        path.unlink()
    if sys.platform != "win32":
        os.close(file)
