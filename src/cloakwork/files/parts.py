"""Parts: hidden neighbours of files, which become them once they are whole."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex

LONG_NAME = 200  # bytes; disks take 255, and a part's name is longer than its file's
HOUR = 3600  # seconds
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)  # Windows has none, and needs a right for links
# hidden neighbours that become files; older versions' name no process
PART = re.compile(
    r"\.(?P<name>.+)\.part(-(?P<host>[0-9a-f]{6})-(?P<pid>[0-9]+)-[0-9a-f]{8})?(\.d)?", re.DOTALL
)


def new_part(path: Path) -> Path:
    """Return a hidden neighbour of a name that says who is writing `path`: host and process.

    >>> PART.fullmatch(new_part(Path("photos/a.png")).name)["name"]
    'a.png'
    """
    return path.with_name(f".{_short(path.name)}.part-{_host()}-{os.getpid()}-{token_hex(4)}")


def remove_parts(folder: Path, names: Iterable[str] | None = None, *, alone: bool = False) -> None:
    """Remove what killed processes left in a folder while they wrote files; links are not followed.

    A part is left if the process in its name does not run on this machine, or if it is an hour old.

    Args:
        folder: may be missing.
        names: of the files that were to be written; None takes any.
        alone: nobody else writes them now, so that every part is left.
    """
    wanted = None if names is None else {_short(name) for name in names}
    try:
        found = [(entry, PART.fullmatch(entry.name)) for entry in os.scandir(folder)]
    except OSError:
        return
    for entry, match in found:
        if match and (wanted is None or _becomes(match) in wanted):
            with suppress(OSError):
                if alone or _left(entry, match):
                    _remove_entry(entry)


def _becomes(match: re.Match[str]) -> str:
    """Return the name of what a part becomes in the end: it may be a part of a part.

    >>> part = new_part(new_part(Path("model")))
    >>> match = PART.fullmatch(part.name)
    >>> match and _becomes(match)
    'model'
    """
    while inner := PART.fullmatch(match["name"]):
        match = inner
    return match["name"]


def _remove_entry(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry, ignore_errors=True)
    else:
        os.unlink(entry)


def _left(entry: os.DirEntry[str], match: re.Match[str]) -> bool:
    """Return whether nobody writes a part any more, as far as can be seen from here."""
    if match["host"] == _host() and not is_alive(int(match["pid"])):
        return True
    return time.time() - entry.stat(follow_symlinks=False).st_mtime > HOUR


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine runs.

    Returns:
        True where that cannot be asked too: on Windows asking would end the process.

    >>> is_alive(os.getpid())
    True
    """
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _short(name: str) -> str:
    """Return what stands in a part's name for that of its file."""
    raw = os.fsencode(name)
    return name if len(raw) <= LONG_NAME else hashlib.sha256(raw).hexdigest()


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:6]
