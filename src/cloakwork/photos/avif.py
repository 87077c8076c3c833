"""Read from an AVIF file what Pillow does not tell: its bits per channel, and its code points of
colour.

An AVIF file is a tree of boxes (ISO/IEC 14496-12): length, type, content. Those that describe the
picture lie under meta/iprp/ipco; meta/iprp/ipma says which of them belong to which item, and
meta/pitm which item is the photo. The others are its transparency, tiles, previews, gain maps.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Box = tuple[bytes, bytes]  # type and content


@dataclass(frozen=True)
class AvifFacts:
    """What an AVIF file says of its photo.

    Attributes:
        bits: per channel, 8, 10 or 12.
        nclx: colour primaries, transfer and matrix as code points of ITU-T H.273; None without.
    """

    bits: int = 8
    nclx: tuple[int, int, int] | None = None


def avif_facts(path: Path) -> AvifFacts:
    """Read an AVIF file's facts.

    Raises:
        struct.error, IndexError: a box is cut short.
    """
    meta = dict(_boxes(path.read_bytes())).get(b"meta")
    if meta is None:
        return AvifFacts()
    parts = dict(_boxes(meta[4:]))
    properties = dict(_boxes(parts.get(b"iprp", b"")))
    known = list(_boxes(properties.get(b"ipco", b"")))
    photo = _primary(parts[b"pitm"]) if b"pitm" in parts else None
    numbers = _associated(properties[b"ipma"]).get(photo, []) if b"ipma" in properties else []
    own = [known[i - 1] for i in numbers if 0 < i <= len(known)]
    # a photo put together of tiles has no coding of its own, but that of its tiles
    bits = [_bits(box) for box in own] if any(map(_bits, own)) else [_bits(box) for box in known]
    codes = [
        struct.unpack(">3H", content[4:10])
        for kind, content in own
        if kind == b"colr" and content[:4] == b"nclx"
    ]
    return AvifFacts(max(bits, default=0) or 8, codes[0] if codes else None)


def _boxes(data: bytes) -> Iterator[Box]:
    r"""Yield the boxes that lie one behind the other.

    >>> list(_boxes(b"\0\0\0\x0afreeab" + b"\0\0\0\0mdatc"))
    [(b'free', b'ab'), (b'mdat', b'c')]
    """
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1:  # too long for 32 bits
            (size,), head = struct.unpack_from(">Q", data, at + 8), 16
        elif size == 0:  # all the rest
            size = len(data) - at
        if size < head:
            return
        yield kind, data[at + head : at + size]
        at += size


def _primary(content: bytes) -> int:
    """Return the number of the item that is the photo, from the content of a pitm box.

    >>> _primary(bytes.fromhex("00000000 0007"))
    7
    """
    return struct.unpack_from(">I" if content[0] else ">H", content, 4)[0]


def _associated(content: bytes) -> dict[int | None, list[int]]:
    """Return item -> numbers of its properties, counted from 1, from the content of an ipma box.

    >>> _associated(bytes.fromhex("00000000 00000001 0001 02 01 84"))
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


def _bits(box: Box) -> int:
    """Return the bits per channel that a property tells: 0 for one that tells none.

    >>> [_bits((b"av1C", bytes([0x81, 0, flags, 0]))) for flags in (0x0C, 0x4C, 0x6C)]
    [8, 10, 12]
    """
    kind, content = box
    if kind == b"pixi":
        return max(content[5 : 5 + content[4]], default=0)
    if kind == b"av1C":
        high, twelve = content[2] & 0x40, content[2] & 0x20
        return 12 if high and twelve else 10 if high else 8
    return 0
