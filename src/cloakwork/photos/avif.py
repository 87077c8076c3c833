"""Read from an AVIF file what Pillow does not tell: its bits per channel, and its code points of
colour.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

from cloakwork.photos.boxes import Box, associated, boxes, primary


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
    meta = dict(boxes(path.read_bytes())).get(b"meta")
    if meta is None:
        return AvifFacts()
    parts = dict(boxes(meta[4:]))
    properties = dict(boxes(parts.get(b"iprp", b"")))
    known = list(boxes(properties.get(b"ipco", b"")))
    photo = primary(parts[b"pitm"]) if b"pitm" in parts else None
    numbers = associated(properties[b"ipma"]).get(photo, []) if b"ipma" in properties else []
    own = [known[i - 1] for i in numbers if 0 < i <= len(known)]
    # a photo put together of tiles has no coding of its own, but that of its tiles
    bits = [_bits(box) for box in own] if any(map(_bits, own)) else [_bits(box) for box in known]
    codes = [
        struct.unpack(">3H", content[4:10])
        for kind, content in own
        if kind == b"colr" and content[:4] == b"nclx"
    ]
    return AvifFacts(max(bits, default=0) or 8, codes[0] if codes else None)


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
