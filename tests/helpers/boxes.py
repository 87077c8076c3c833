"""Boxes of AVIF and HEIC files, made by hand."""

from __future__ import annotations

import struct

from cloakwork.photos.boxes import boxes


def box(kind: bytes, *content: bytes) -> bytes:
    whole = b"".join(content)
    return struct.pack(">I4s", 8 + len(whole), kind) + whole


def entry(item: int, kind: bytes) -> bytes:
    """What iinf says of an item that is not shown by itself."""
    return box(b"infe", b"\2\0\0\1", struct.pack(">HH4sx", item, 0, kind))


def reference(kind: bytes, origin: int, *to: int) -> bytes:
    return box(kind, struct.pack(f">HH{len(to)}H", origin, len(to), *to))


def with_item(file: bytes, kind: bytes, content: bytes, *references: bytes) -> bytes:
    """Return a file that holds an item more, number 9, with the properties of its first one.

    What describes the items goes to the end, so that nothing moves to which it points.
    """
    parts = dict(boxes(file))
    meta = dict(boxes(parts[b"meta"][4:]))
    properties = dict(boxes(meta[b"iprp"]))
    base = bytes(meta[b"iloc"][5] >> 4)  # of places, which are counted from there
    place = struct.pack(">HH", 9, 0) + base + struct.pack(">HII", 1, len(file) + 8, len(content))
    told = properties[b"ipma"]
    meta |= {
        b"iinf": _one_more(meta[b"iinf"], 5) + entry(9, kind),
        b"iloc": _one_more(meta[b"iloc"], 7) + place,
        b"iref": meta.get(b"iref", bytes(4)) + b"".join(references),
        b"iprp": box(b"ipco", properties[b"ipco"])
        + box(b"ipma", _one_more(told, 7), b"\0\x09", told[10 : 11 + told[10]]),
    }
    start = file.replace(b"meta", b"free", 1)  # which is passed over
    described = (box(name, part) for name, part in meta.items() if len(part) > 4)
    return start + box(b"mdat", content) + box(b"meta", bytes(4), *described)


def _one_more(content: bytes, at: int) -> bytes:
    """Count a number up that ends at a byte."""
    return content[:at] + bytes([content[at] + 1]) + content[at + 1 :]
