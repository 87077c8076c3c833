"""Find what a photo's file holds beside the photo: second pictures, and bytes behind its end.

Phones put gain maps, depth maps and short films there. Pillow passes over them without a word.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from cloakwork.photos.boxes import box_head
from cloakwork.photos.items import pictures_beside

# what comes next in a JPEG; 00 stands for a byte of the picture, D0 to D7 divide it
MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
SOI, TEM, EOI = 0xD8, 0x01, 0xD9  # markers without a segment
NO_PADDING = re.compile(rb"[^\x00\xff]")
CHUNK = 65536  # bytes that are read at a time

# of WebP, and of AVIF and HEIC: what is looked at elsewhere, or says nothing
CHUNKS = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP", b"EXIF", b"XMP "))
BOXES = frozenset((b"ftyp", b"meta", b"mdat", b"free", b"skip", b"wide", b"pdin"))


@dataclass(frozen=True)
class Beside:
    """What a file holds beside its photo.

    Attributes:
        second: whether it says that it holds a second picture.
        blocks: names of what else it holds.
        behind: bytes behind the photo's end; 0 where they all are padding.
    """

    second: bool = False
    blocks: tuple[str, ...] = ()
    behind: int = 0


def beside_photo(path: Path, format: str | None) -> Beside:
    """Return what the file of a photo holds beside it.

    Of TIFF and BMP nothing is known: neither says where it ends.

    Args:
        path: the file.
        format: as Pillow names it.
    """
    look = LOOK.get(format or "")
    if look is None:
        return Beside()
    try:
        with open(path, "rb") as file:
            return look(file)
    except (struct.error, IndexError):  # the pixels are sound all the same
        return Beside(blocks=("what its damaged parts hold",))


def _in_jpeg(file: BinaryIO) -> Beside:
    """Look behind the marker EOI; one in a segment, such as a preview's, does not count."""
    while (kind := _next_marker(file)) is not None:
        if kind == EOI:
            return Beside(behind=_behind(file, file.tell()))
        if kind not in (SOI, TEM):
            (length,) = struct.unpack(">H", file.read(2))
            file.seek(length - 2, os.SEEK_CUR)
    return Beside()


def _next_marker(file: BinaryIO) -> int | None:
    """Go on behind a JPEG's next marker, and return its second byte; None where none is left."""
    while chunk := file.read(CHUNK):
        if found := MARKER.search(chunk):
            file.seek(found.end() - len(chunk), os.SEEK_CUR)
            return found[0][1]
        if len(chunk) > 1 and chunk.endswith(b"\xff"):  # the first half of one
            file.seek(-1, os.SEEK_CUR)
    return None


def _in_png(file: BinaryIO) -> Beside:
    """Look behind the chunk IEND; chunks that nobody knows are named by Pillow."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        end = file.seek(length + 4, os.SEEK_CUR)
        if kind == b"IEND":
            return Beside(behind=_behind(file, end))
    return Beside()


def _in_webp(file: BinaryIO) -> Beside:
    """Look for chunks that nobody knows, and behind the last one."""
    at, end, blocks = 12, 8 + struct.unpack("<4xI", file.read(8))[0], []
    file.seek(at)
    while at < end and len(head := file.read(8)) == 8:
        kind, length = struct.unpack("<4sI", head)
        if kind not in CHUNKS:
            blocks.append(kind.decode("latin-1"))
        at = file.seek(length + length % 2, os.SEEK_CUR)
    return Beside(blocks=tuple(blocks), behind=_behind(file, end))


def _in_boxes(file: BinaryIO) -> Beside:
    """Look for pictures beside the photo, for boxes that nobody knows, and behind the last box."""
    blocks, second, at, length = [], False, 0, file.seek(0, os.SEEK_END)
    while (left := length - at) >= 8:
        file.seek(at)
        kind, head, size = box_head(file.read(16), left)
        if size < head or (kind not in BOXES and (size > left or not kind.isalnum())):
            break  # these bytes are no box
        size = min(size, left)
        if kind == b"meta":
            file.seek(at + head)
            previews, others = pictures_beside(file.read(size - head))
            second = second or bool(others)
            blocks += ["the preview"] if previews else []
        elif kind == b"moov":
            second = True  # a film
        elif kind not in BOXES:
            blocks.append(kind.decode("latin-1"))
        at += size
    return Beside(second, tuple(blocks), _behind(file, at))


def _behind(file: BinaryIO, end: int) -> int:
    """Return the bytes behind an end; 0 where they all are padding."""
    length = file.seek(0, os.SEEK_END)
    file.seek(end)
    chunks = iter(partial(file.read, CHUNK), b"")
    return length - end if any(map(NO_PADDING.search, chunks)) else 0


LOOK = {
    "JPEG": _in_jpeg,
    "MPO": _in_jpeg,
    "PNG": _in_png,
    "WEBP": _in_webp,
    "AVIF": _in_boxes,
    "HEIF": _in_boxes,
}
