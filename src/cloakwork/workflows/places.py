"""Where a job's files go, and whether they can be written there."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from cloakwork.errors import UserError
from cloakwork.files import FOLDER, unwritable

# what a job writes into the folder of its record
OWN = ("record.json", "purified.json", "saving.json", "timings.json", "sheet.png", "overview.png")


def records_folder(out: Path, *names: str) -> Path:
    """Return the folder for the records of a photo set, or of one photo.

    Photos and their folders may be called as our own files are, or "..": they get a stroke more.

    Args:
        out: the output folder.
        names: of the set, with "/" between its parts, and of the photo; "" for none.

    >>> records_folder(Path("out"), "cats/white", "tom").as_posix()
    'out/.cloakwork/cats/white/tom'
    >>> records_folder(Path("out"), "record.json", "..").as_posix()
    'out/.cloakwork/record.json_/.._'
    """
    parts = [part for name in names for part in name.split("/") if part]
    ours = re.compile(r"(.*\.(json|png|safetensors)|\.{1,2}|lock|draws)_*", re.IGNORECASE)
    return Path(out, FOLDER, *(f"{part}_" if ours.fullmatch(part) else part for part in parts))


def own_files(folder: Path) -> list[Path]:
    """List the files that a job writes beside its record."""
    return [folder / name for name in OWN]


def refuse_places(files: Iterable[Path]) -> None:
    """Refuse files that could not be written, before anything is computed for them.

    Raises:
        UserError: one sentence for each file: its name is too long, something else is in its
            place, or its folder may not be written.
    """
    files, faults = list(files), []
    between = {folder: file for file in files for folder in file.parents}
    for file in files:
        try:
            if file in between:
                raise _error(errno.EISDIR)
            _try(file)
        except OSError as error:
            faults.append(unwritable(file, error))
    if faults:
        raise UserError(*faults)


def _try(file: Path) -> None:
    """Raise the OSError that writing a file would end in, as far as can be known; write nothing."""
    if file.is_dir():
        raise _error(errno.EISDIR)
    folder, missing = file.parent, [file.name]
    while not os.path.lexists(folder):
        missing.append(folder.name)
        folder = folder.parent
    if not folder.is_dir():
        raise _error(errno.ENOTDIR)
    for name in missing:  # the system knows which names are too long
        with suppress(FileNotFoundError):
            os.lstat(folder / name)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _error(errno.EACCES)


def _error(number: int) -> OSError:
    """Return the system's error of a number."""
    return OSError(number, os.strerror(number))
