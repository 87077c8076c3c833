"""avif: what the boxes of a file say of its photo, and not of what lies beside it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from helpers.boxes import box

from cloakwork.photos.avif import AvifFacts, avif_facts


def coding(bits: int) -> bytes:
    return box(b"av1C", bytes([0x81, 0, {8: 0x0C, 10: 0x4C, 12: 0x6C}[bits], 0]))


def nclx(primaries: int) -> bytes:
    return box(b"colr", b"nclx", struct.pack(">3HB", primaries, 13, 6, 0x80))


def pixi(bits: int) -> bytes:
    return box(b"pixi", bytes(4), bytes([3, bits, bits, bits]))


def meta(properties: list[bytes], items: dict[int, list[int]], photo: int = 1) -> bytes:
    """A meta box; items are those with their properties, counted from 1."""
    entries = [
        struct.pack(">HB", item, len(numbers)) + bytes(n | 0x80 for n in numbers)
        for item, numbers in items.items()
    ]
    told = box(b"ipma", bytes(4), struct.pack(">I", len(items)), *entries)
    parts = box(b"iprp", box(b"ipco", *properties), told)
    return box(b"meta", bytes(4), box(b"pitm", bytes(4), struct.pack(">H", photo)), parts)


FILES = {
    "beside": (  # item 2 is transparency, or a gain map
        meta([coding(8), nclx(12), coding(10), nclx(9)], {1: [1, 2], 2: [3, 4]}),
        AvifFacts(8, (12, 13, 6)),
    ),
    "second": (meta([coding(8), coding(10)], {1: [1], 2: [2]}, photo=2), AvifFacts(10, None)),
    "depth of pixels": (meta([pixi(12)], {1: [1]}), AvifFacts(12, None)),
    "tiles": (meta([nclx(1), coding(10)], {1: [1], 2: [2]}), AvifFacts(10, (1, 13, 6))),
    "nothing": (b"", AvifFacts()),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("long", [False, True])
def test_facts_are_those_of_the_photo(tmp_path: Path, name: str, long: bool) -> None:
    content, facts = FILES[name]
    if long and content:  # a length of 64 bits
        content = struct.pack(">I4sQ", 1, b"meta", len(content) + 8) + content[8:]
    (tmp_path / "a.avif").write_bytes(box(b"ftyp", b"avif") + content + box(b"mdat", b"..."))
    assert avif_facts(tmp_path / "a.avif") == facts
