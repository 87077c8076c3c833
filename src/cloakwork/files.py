"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cloakwork.errors import UserError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a hidden neighbour of `path` to write to; pushed to the disk and renamed at the end, removed on any failure.

    Its name is always the same, so that what a killed process left is replaced by the next.

    Raises:
        UserError: the disk is full, the folder cannot be written, or the like.
    """
    part = path.with_name(f".{path.name}.part")
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
        raise UserError(f"{path} could not be written ({reason}); make room, or choose another folder.") from None
