"""What lies in folders of photos and is not taken for one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from cloakwork.photos.folders import expand
from cloakwork.photos.sets import NOWHERE, PhotoSet, find_sets

# nobody's photos: the system's (others of the kind are hidden), and a page of protected photos
SYSTEM = frozenset({"thumbs.db", "desktop.ini", "before-after.html"})
NAMED = 10


def left_out(
    photos: Sequence[Path | str],
    out: Path,
    sets: Sequence[PhotoSet],
    beside: Iterable[Path] = (),
) -> list[str]:
    """Return the note on files in folders that were passed over since they are no photos.

    Hidden files, those of the system and of cloakwork, and the output folder's have no note.

    Args:
        photos: the arguments of `sets.find_sets`.
        out: its output folder.
        sets: what it found.
        beside: files that have a note of their own.

    Returns:
        One sentence, or none.
    """
    known = {file for s in sets for file in s.files} | set(beside)
    _, folders, _ = expand(photos)
    names = [
        path.relative_to(folder).as_posix()
        for folder in sorted(folder for folder in folders if folders.isdisjoint(folder.parents))
        for path in _files(folder, out, set())
        if path not in known and path.name.lower() not in SYSTEM
    ]
    if not names:
        return []
    first, more = ", ".join(names[:NAMED]), len(names) - NAMED
    files = "1 file, which is no photo" if len(names) == 1 else f"{len(names)} files, no photos"
    return [
        f"Passed over: {files} that can be read here: {first}"
        + (f", and {more} more." if more > 0 else ".")
    ]


def left_out_of(*folders: Path | str | None, beside: Iterable[Path] = ()) -> list[str]:
    """Return the note of `left_out` on folders for which nothing is written.

    Args:
        folders: of photos, files or patterns; None counts as none.
        beside: files that have a note of their own.
    """
    photos = [folder for folder in folders if folder is not None]
    sets = [found for folder in photos for found in find_sets([folder], NOWHERE)]
    return left_out(photos, NOWHERE, sets, beside)


def _files(folder: Path, out: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield the files of a folder and of those below it that are not hidden."""
    real = Path(os.path.realpath(folder))
    if real in seen or real.is_relative_to(os.path.realpath(out)):
        return
    seen.add(real)
    for path in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
        if path.is_dir():
            yield from _files(path, out, seen)
        else:
            yield path
