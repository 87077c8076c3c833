"""Photos on their way from the browser: their names, their bytes, and whether they are photos."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterable, Callable, Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cloakwork.errors import UserError
from cloakwork.photos.decoding import decode

LONGEST = 150  # bytes of a name, of which disks take 255: programs add to it
DEEPEST = 8  # folders
# control characters, and what Windows does not take in names
UNFIT = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # by Windows


# what browsers are told of a file by its ending; a photo named page.html is none of HTML
KINDS = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
UNKNOWN = "application/octet-stream"


@dataclass(frozen=True)
class Upload:
    """A photo that was received."""

    id: str
    name: str
    """with "/" between folder and file"""
    path: Path
    size: int
    """bytes"""
    width: int
    height: int


def checked_name(given: str) -> PurePosixPath:
    r"""Return the name of a photo, relative to the folder it was chosen in.

    What some disks do not take in names is replaced.

    Raises:
        UserError: it leads out of that folder, is hidden, or is too long.

    >>> checked_name("trip/10:30 <b>.jpg").as_posix()
    'trip/10_30 _b_.jpg'
    >>> checked_name("../a.jpg")
    Traceback (most recent call last):
    cloakwork.errors.UserError: '../a.jpg' is no name that a photo can have here; rename it.
    """
    parts = [_fit(part) for part in given.split("/")]
    hidden = any(not part or part.startswith(".") for part in parts)
    if hidden or len(parts) > DEEPEST or any(_bytes(part) > LONGEST for part in parts):
        shown = given if len(given) < LONGEST else f"{given[:LONGEST]} ..."
        raise UserError(f"{shown!r} is no name that a photo can have here; rename it.")
    return PurePosixPath(*parts)


def _fit(part: str) -> str:
    """Return a name that every disk takes; "" where nothing is left of it."""
    kept = UNFIT.sub("_", part).strip(" ").rstrip(".") if part.strip(". ") else part.strip()
    return f"_{kept}" if RESERVED.match(kept) else kept


def _bytes(part: str) -> int:
    """Return the length of a name on a disk; stand-ins for what is no text count as too long."""
    try:
        return len(part.encode())
    except UnicodeEncodeError:
        return LONGEST + 1


def free_name(name: PurePosixPath, taken: Collection[str]) -> PurePosixPath:
    """Return a name that no other photo has, whatever its ending: results may all end in .png.

    >>> free_name(PurePosixPath("a.jpg"), ["A.png"]).as_posix()
    'a (2).jpg'
    """
    stems = {PurePosixPath(other).with_suffix("").as_posix().casefold() for other in taken}
    found, number = name, 1
    while found.with_suffix("").as_posix().casefold() in stems:
        number += 1
        found = name.with_stem(f"{name.stem} ({number})")
    return found


async def receive(chunks: AsyncIterable[bytes], path: Path, refuse: Callable[[int], str]) -> int:
    """Write the bytes of a file that does not exist yet.

    Args:
        chunks: of the file.
        path: the file.
        refuse: bytes so far -> why that is too much, or "".

    Returns:
        Its bytes.

    Raises:
        UserError: it is refused; a part of it is there then.
    """
    size = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "xb") as file:
        async for chunk in chunks:
            size += len(chunk)
            if reason := refuse(size):
                raise UserError(reason)
            file.write(chunk)
    return size


def size_of(path: Path, folder: Path) -> tuple[int, int]:
    """Return width and height of a photo in a folder, decoded in full: damage shows at once.

    Raises:
        UserError: what is wrong with it, without that folder.
    """
    try:
        return decode(path).image.size
    except UserError as error:
        raise UserError(*without_folder(error.sentences, folder)) from None
    except MemoryError:
        raise UserError(f"{path.name} does not fit into memory; make it smaller.") from None


def kind_of(path: Path) -> str:
    """Return what a browser is told that a photo is.

    >>> kind_of(Path("a.JPG")), kind_of(Path("page.html"))
    ('image/jpeg', 'application/octet-stream')
    """
    return KINDS.get(path.suffix.lower(), UNKNOWN)


def without_folder(sentences: Collection[str], folder: Path) -> list[str]:
    """Return sentences without the folder of a page, of which its user knows nothing.

    >>> without_folder(["/tmp/x/a.png is empty."], Path("/tmp/x"))
    ['a.png is empty.']
    """
    return [sentence.replace(f"{folder}{os.sep}", "") for sentence in sentences]
