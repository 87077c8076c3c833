"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloakwork.errors import Unwritable


@contextmanager
def whole(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yields a hidden neighbour of `path` to write to; pushed to the disk and renamed at the end, removed on any failure.

    Its name is always the same, so that what a killed process left is replaced by the next. Of a file that several processes
    may write at once (`shared`) each has a neighbour of its own.

    Raises:
        Unwritable: the disk is full, the folder cannot be written, or the like.
    """
    part = _part(path)
    if shared:
        part = part.with_name(f"{part.name}-{os.getpid()}-{threading.get_ident()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unwritable(f"{path} could not be written ({reason}); make room, or choose another folder.") from None


def drop(path: Path) -> None:
    """Takes a file away, and what a killed process left that was writing it."""
    for file in (path, _part(path)):
        file.unlink(missing_ok=True)
    shutil.rmtree(beside(_part(path)), ignore_errors=True)


def beside(path: Path) -> Path:
    """A folder for libraries that write a file of a random name before they rename it."""
    return path.with_name(f"{path.name}.d")


def _part(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")
