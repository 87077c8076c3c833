"""What goes out: all protected photos in one zip file, or copied to a folder of the user's."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloakwork.errors import UserError
from cloakwork.files import atomic_write, expand_home

TEXT = "about these photos.txt"


def words(answer: Mapping[str, Any]) -> str:
    """Return what was done, against what, and what that does not mean, as a text."""
    return "\n\n".join([answer["head"], *answer["notes"], answer["reach"]]) + "\n"


def write_zip(answer: Mapping[str, Any], path: Path) -> None:
    """Write all photos of a job into one file, with what is to be known of them.

    Args:
        answer: of `work.protect_photos`.
        path: the file.
    """
    # photos are compressed already
    with atomic_write(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as file:
        for photo in answer["photos"]:
            file.write(photo["file"], photo["name"])
        file.writestr(TEXT, words(answer))


def usual_folder(home: Path | None = None) -> Path:
    """Return a folder for protected photos that does not exist yet, among the user's pictures."""
    home = Path.home() if home is None else home
    above = next((p for p in (home / "Pictures", home / "Documents") if p.is_dir()), home)
    folder, number = above / "protected photos", 1
    while os.path.lexists(folder):
        number += 1
        folder = above / f"protected photos {number}"
    return folder


def save(answer: Mapping[str, Any], given: str) -> Path:
    """Copy all photos of a job to a folder, where nothing is overwritten.

    Args:
        answer: of `work.protect_photos`.
        given: the folder, absolute; it is made where the one above it exists.

    Returns:
        The folder.

    Raises:
        UserError: it is no such folder, or files of these names are there.
    """
    folder = expand_home(given)
    if not given.strip() or not folder.is_absolute() or "\0" in given:
        raise UserError(f"{given!r} is no whole path of a folder; write it as in {usual_folder()}.")
    if os.path.lexists(folder) and not folder.is_dir():
        raise UserError(f"{folder} is a file; name a folder.")
    if not folder.parent.is_dir():
        raise UserError(f"There is no folder {folder.parent}; name one that exists.")
    files = {photo["name"]: Path(photo["file"]) for photo in answer["photos"]}
    if taken := [name for name in files if os.path.lexists(folder / name)]:
        more = f" and {len(taken) - 1} more" if len(taken) > 1 else ""
        raise UserError(
            f"{folder} holds {taken[0]}{more} already, and nothing is overwritten; "
            "name another folder."
        )
    for name, file in files.items():
        with atomic_write(folder / name) as part:
            shutil.copyfile(file, part)
    if not os.path.lexists(folder / TEXT):
        with atomic_write(folder / TEXT) as part:
            part.write_text(words(answer), encoding="utf-8")
    return folder
