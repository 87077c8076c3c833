"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloakwork.errors import UserError

QUIET = 60  # seconds: a file that is being written changes more often


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a hidden neighbour of `path` to write to; pushed to the disk and renamed at the end, removed on any failure.

    Processes that write the same file at once have a neighbour each; what a killed one left is taken over by the next.

    Raises:
        UserError: the disk is full, the folder cannot be written, or the like.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = _reserved(part)
        try:
            yield part
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{path} could not be written ({reason}); make room, or choose another folder.") from None


def _reserved(part: Path) -> Path:
    """The file itself, now there and empty; or one of this thread's own, while somebody else is writing it."""
    try:
        part.open("x").close()
    except FileExistsError:
        try:
            if time.time() - part.stat().st_mtime < QUIET:
                return part.with_name(f"{part.name}-{os.getpid()}-{threading.get_ident()}")
        except FileNotFoundError:  # just finished
            return _reserved(part)
    return part
