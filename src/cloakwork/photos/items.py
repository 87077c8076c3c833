"""Find the pictures that an AVIF or HEIC file holds beside its photo.

Every picture in such a file is an item, and references say what items are to each other. The photo
is the primary item; its tiles and its transparency are read with it. What is left are previews, and
second pictures: gain maps, depth maps, other views.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from cloakwork.photos.boxes import associated, boxes, primary

Items = Mapping[int, bytes]  # number -> type
References = Mapping[tuple[bytes, int], Sequence[int]]  # kind and origin -> items it leads to

NO_PICTURES = (b"Exif", b"mime", b"uri ")  # types of items
ALPHA = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
"""How auxiliary pictures that are transparency are called, in AVIF and in HEIC."""


def pictures_beside(meta: bytes) -> tuple[set[int], set[int]]:
    """Return the numbers of previews and of second pictures, from the content of a meta box.

    Raises:
        struct.error, IndexError: a box is cut short.
    """
    parts = dict(boxes(meta[4:]))
    items = dict(_items(parts.get(b"iinf", b"")))
    references = dict(_references(parts.get(b"iref", b"")))
    alphas = _alphas(dict(boxes(parts.get(b"iprp", b""))))
    read_for = _read_for(items, references, alphas)
    own = _closed({primary(parts[b"pitm"])} if b"pitm" in parts else set(), read_for)
    small = {origin for (kind, origin), to in references.items() if kind == b"thmb" and own & {*to}}
    previews = _closed(small - own, read_for) - own
    pictures = {item for item, kind in items.items() if kind not in NO_PICTURES}
    return pictures & previews, pictures - own - previews


def _read_for(items: Items, references: References, alphas: set[int]) -> dict[int, list[int]]:
    """Return picture -> pictures that are read with it: what it is made of, and transparency."""
    found = defaultdict[int, list[int]](list)
    for (kind, origin), to in references.items():
        if kind == b"dimg":
            # the second part of a tone mapping is its gain map
            found[origin] += to[:1] if items.get(origin) == b"tmap" else to
        elif kind == b"auxl" and origin in alphas:
            for item in to:
                found[item].append(origin)
    return found


def _closed(pictures: set[int], read_for: Mapping[int, Sequence[int]]) -> set[int]:
    """Return pictures with all that is read for them.

    >>> sorted(_closed({1}, {1: [2, 3], 3: [4], 5: [6]}))
    [1, 2, 3, 4]
    """
    own, left = set[int](), list(pictures)
    while left:
        if (item := left.pop()) not in own:
            own.add(item)
            left += read_for.get(item, ())
    return own


def _items(content: bytes) -> Iterator[tuple[int, bytes]]:
    r"""Yield number and type of the items, from the content of an iinf box.

    >>> entry = b"\0\0\0\x15infe" + bytes.fromhex("02000000 0007 0000") + b"av01\0"
    >>> list(_items(bytes.fromhex("00000000 0001") + entry))
    [(7, b'av01')]
    """
    for kind, entry in boxes(content[8 if content[:1] > b"\0" else 6 :]):
        if kind == b"infe" and entry[0] >= 2:  # older ones have no type, and are no pictures
            yield struct.unpack_from(">H2x4s" if entry[0] == 2 else ">I2x4s", entry, 4)


def _references(content: bytes) -> Iterator[tuple[tuple[bytes, int], tuple[int, ...]]]:
    r"""Yield references, from the content of an iref box.

    >>> list(_references(bytes(4) + b"\0\0\0\x0ethmb" + bytes.fromhex("0002 0001 0001")))
    [((b'thmb', 2), (1,))]
    """
    number = "I" if content[:1] > b"\0" else "H"
    for kind, entry in boxes(content[4:]):
        origin, count = struct.unpack_from(f">{number}H", entry)
        to = struct.unpack_from(f">{count}{number}", entry, struct.calcsize(f">{number}H"))
        yield (kind, origin), to


def _alphas(properties: Mapping[bytes, bytes]) -> set[int]:
    """Return the items that are transparency, from the boxes in an iprp box."""
    known = list(boxes(properties.get(b"ipco", b"")))
    alpha = {
        number
        for number, (kind, content) in enumerate(known, 1)
        if kind == b"auxC" and content[4:].split(b"\0")[0] in ALPHA
    }
    of = associated(properties[b"ipma"]) if b"ipma" in properties else {}
    return {item for item, numbers in of.items() if item is not None and alpha & {*numbers}}
