"""Folders of photos: what lies in them, and where results may not go."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from cloakwork.errors import UserError
from cloakwork.files import expand_home
from cloakwork.photos.recognition import is_photo


def photo_files(folder: Path) -> list[Path]:
    """List the photos that lie in a folder itself, by name; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(f for f in folder.iterdir() if is_photo(f))


def expand(photos: Sequence[Path | str]) -> tuple[set[Path], set[Path], list[str]]:
    """Sort files, folders and patterns into files and folders, both absolute, and faults."""
    faults: list[str] = []
    files: set[Path] = set()
    folders: set[Path] = set()
    for argument in (str(expand_home(photo)) if str(photo) else "" for photo in photos):
        matches = [Path(argument)] if os.path.lexists(argument) else _matches(argument)
        if not matches and set(argument) & set("*?["):
            faults.append(
                f"The pattern '{argument}' matches no photo and no folder; check the spelling."
            )
        elif not matches:
            faults.append(f"'{argument}' does not exist; check the spelling.")
        for match in matches:
            (folders if match.is_dir() else files).add(Path(os.path.abspath(match)))
    return files, folders, faults


def _matches(pattern: str) -> list[Path]:
    """List photos and folders that match a pattern.

    Hidden ones are listed only where the pattern itself names them.
    """
    path = Path(pattern)
    if not set(pattern) & set("*?["):
        return []
    try:
        # does not follow links to folders in "**"
        matches = list(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
    except ValueError:  # such as "a**.jpg"
        return []
    named = set(path.parts)
    shown = [
        match
        for match in matches
        if not any(part.startswith(".") and part not in named for part in match.parts)
    ]
    return [match for match in shown if match.is_dir() or is_photo(match)]


def walk(
    folder: Path, name: str, out: Path, seen: dict[Path, Path]
) -> Iterator[tuple[str, list[Path]] | str]:
    """Yield the name and the photos of a folder and of all folders below it; a fault as a sentence.

    `seen` guards against links that lead back.
    """
    place = without_links(folder)
    if place in seen:
        yield (
            f"{folder} and {seen[place]} are the same folder by way of a symbolic link; "
            "remove the link."
        )
        return
    seen[place] = folder
    if place.is_relative_to(without_links(out)):
        yield (
            f"{folder} lies in the output folder {out}, so results would become inputs; "
            "choose another output folder."
        )
        return
    try:
        shown = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        yield (
            f"{folder} cannot be read ({error.strerror}); give yourself the permission to read it."
        )
        return
    yield name, [path for path in shown if not path.is_dir() and is_photo(path)]
    for path in shown:
        if path.is_dir():
            yield from walk(path, f"{name}/{path.name}".lstrip("/"), out, seen)


def refuse_report_among_photos(out: Path, *folders: Path | str | None) -> None:
    """Refuse a folder for reports whose pictures would become photos, or that is a file.

    It may not be one of the photos' folders, nor lie in one.

    Args:
        out: the folder for reports.
        folders: of photos; None counts as no folder.

    Raises:
        UserError: one sentence for each such folder.
    """
    faults = [
        *no_folder(out),
        *(
            fault
            for folder in folders
            if folder is not None
            for fault in inside(out, expand_home(folder))
        ),
    ]
    if faults:
        raise UserError(*dict.fromkeys(faults))


def no_folder(out: Path) -> list[str]:
    """Return the fault of an output folder that is something else; none of one still to be made."""
    if not os.path.lexists(out) or os.path.isdir(out):
        return []
    return [f"The output {out} is a file where a folder is needed; name another folder."]


def inside(out: Path, folder: Path) -> list[str]:
    """Return the fault of an output folder that is the input folder or lies in it."""
    if not without_links(out).is_relative_to(without_links(folder)):
        return []
    same = without_links(out) == without_links(folder)
    where = "is the input folder" if same else f"lies in the input folder {folder}"
    return [
        f"The output folder {out} {where}, so results would become inputs; "
        "choose a folder outside of it."
    ]


def without_links(path: Path) -> Path:
    """Return the path without symbolic links.

    Unlike Path.resolve it takes links that lead nowhere and in circles.
    """
    return Path(os.path.realpath(path))
