"""Read the boxes of an AVIF or HEIC file.

Such a file is a tree of boxes (ISO/IEC 14496-12): length, type, content. Those that describe the
picture lie under meta/iprp/ipco; meta/iprp/ipma says which of them belong to which item, and
meta/pitm which item is the photo. The others are its transparency, tiles, previews, gain maps.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

Box = tuple[bytes, bytes]  # type and content


def boxes(data: bytes) -> Iterator[Box]:
    r"""Yield the boxes that lie one behind the other.

    >>> list(boxes(b"\0\0\0\x0afreeab" + b"\0\0\0\0mdatc"))
    [(b'free', b'ab'), (b'mdat', b'c')]
    """
    at = 0
    while at + 8 <= len(data):
        kind, head, size = box_head(data[at : at + 16], len(data) - at)
        if size < head:
            return
        yield kind, data[at + head : at + size]
        at += size


def box_head(first: bytes, left: int) -> tuple[bytes, int, int]:
    r"""Return a box's type, the bytes before its content, and its bytes in all.

    Args:
        first: its first 16 bytes, or 8 where it has no more.
        left: bytes from its beginning to the end of what it lies in.

    >>> box_head(b"\0\0\0\x0afreeab", 99), box_head(b"\0\0\0\0mdat", 99)
    ((b'free', 8, 10), (b'mdat', 8, 99))
    """
    size, kind = struct.unpack_from(">I4s", first)
    if size == 1:  # too long for 32 bits
        return kind, 16, struct.unpack_from(">Q", first, 8)[0]
    return kind, 8, size or left


def primary(content: bytes) -> int:
    """Return the number of the item that is the photo, from the content of a pitm box.

    >>> primary(bytes.fromhex("00000000 0007"))
    7
    """
    return struct.unpack_from(">I" if content[0] else ">H", content, 4)[0]


def associated(content: bytes) -> dict[int | None, list[int]]:
    """Return item -> numbers of its properties, counted from 1, from the content of an ipma box.

    >>> associated(bytes.fromhex("00000000 00000001 0001 02 01 84"))
    {1: [1, 4]}
    """
    wide, long = content[0] > 0, content[3] & 1
    (items,) = struct.unpack_from(">I", content, 4)
    at, found = 8, {}
    for _ in range(items):
        (item,) = struct.unpack_from(">I" if wide else ">H", content, at)
        at += 4 if wide else 2
        count, at = content[at], at + 1
        form = f">{count}{'H' if long else 'B'}"
        # the highest bit says whether a reader has to know the property
        numbers = struct.unpack_from(form, content, at)
        found[item] = [n & (0x7FFF if long else 0x7F) for n in numbers]
        at += struct.calcsize(form)
    return found
