"""What people wrote about a photo outside of EXIF and XMP: IPTC, texts of PNG, a comment of JPEG.

Only words are kept: the same places also hold previews of the original, in bytes or in letters.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from PIL import Image, IptcImagePlugin
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile, PngInfo
from PIL.TiffImagePlugin import TiffImageFile

from cloakwork.photos.texts import in_pieces, is_text, is_words, listed

Key = TypeVar("Key")

IPTC_TAG = 33723  # of TIFF
COMMENT = "Comment"  # PNG's keyword for what JPEG calls a comment
ELSEWHERE = ("XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type APP1")
KEYWORD = 79  # characters of a keyword of PNG
MOST = 40_000  # bytes of one photo's IPTC or texts; JPEG holds them in a segment of 65,533

NAMES: Mapping[int, str] = {
    5: "title",
    7: "status",
    10: "urgency",
    12: "subject",
    15: "category",
    20: "further categories",
    22: "identifier",
    25: "keywords",
    26: "location code",
    27: "location",
    30: "release date",
    35: "release time",
    37: "expiration date",
    38: "expiration time",
    40: "instructions",
    55: "date",
    60: "time",
    62: "digital date",
    63: "digital time",
    65: "program",
    70: "program version",
    80: "author",
    85: "author's position",
    90: "city",
    92: "place in the city",
    95: "state",
    100: "country code",
    101: "country",
    103: "job",
    105: "headline",
    110: "credit",
    115: "source",
    116: "copyright",
    118: "contact",
    120: "caption",
    122: "caption's author",
    130: "image type",
    131: "orientation",
    135: "language",
}
"""Datasets of IPTC's record 2 that are texts, by number (IPTC-IIM 4.2). The others are bytes: among
them is a preview."""
HEAD = 5  # bytes before a dataset's own
VERSION = 0  # dataset of bookkeeping


@dataclass(frozen=True)
class Description:
    """What people wrote about a photo.

    Attributes:
        iptc: number in NAMES, and text; a number may come again, as keywords do.
        texts: keyword and text, as in PNG; a comment of JPEG has the keyword COMMENT.
    """

    iptc: tuple[tuple[int, str], ...] = ()
    texts: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.iptc or self.texts)


NOTHING = Description()


def description_of(image: Image.Image) -> tuple[Description, tuple[str, ...]]:
    """Return what people wrote about an open and decoded image, and a note on what is not kept."""
    lost: list[str] = []
    iptc = tuple(_kept(_iptc(image, lost), "IPTC", lost))
    texts = tuple(_kept(_texts(image), "text", lost))
    note = f"Left out, for it is damaged, too long or no text: {listed(dict.fromkeys(lost))}."
    return Description(iptc, texts), (note,) if lost else ()


def _kept(
    entries: Iterator[tuple[Key, str]], kind: str, lost: list[str]
) -> Iterator[tuple[Key, str]]:
    """Yield the entries whose value is words, up to MOST bytes; name the others in `lost`."""
    used, found = 0, list(entries)
    pieces = in_pieces(part for key, value in found for part in (str(key), value))
    for key, value in found:
        used += len(value.encode()) + HEAD
        odd = pieces and not is_words(f"{key} {value}")
        if is_text(value) and used <= MOST and not odd:
            yield key, value
        else:
            name = NAMES[key] if isinstance(key, int) else str(key)
            lost.append(f"{kind} '{name}'")


def _iptc(image: Image.Image, lost: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the known datasets of IPTC; name the others in `lost`."""
    if not isinstance(image, JpegImageFile | TiffImageFile):
        return
    try:
        found = IptcImagePlugin.getiptcinfo(image)
    except Exception:
        # damaged metadata makes Pillow raise nearly anything; the pixels are sound all the same
        lost.append("IPTC")
        return
    for (record, number), values in (found or {}).items():
        if record == 2 and number in NAMES:
            for value in values if isinstance(values, list) else [values]:
                if text := _decoded(value):
                    yield number, text
        elif record == 2 and number != VERSION:
            lost.append(f"IPTC 2:{number:02}")


def _texts(image: Image.Image) -> Iterator[tuple[str, str]]:
    """Yield the texts of PNG, or the comment of JPEG."""
    if isinstance(image, PngImageFile):
        for keyword, text in image.text.items():
            if keyword not in ELSEWHERE and text:
                yield keyword, str(text)
    elif isinstance(image, JpegImageFile) and (text := _decoded(image.info.get("comment"))):
        yield COMMENT, text


def _decoded(value: bytes | str | None) -> str:
    """Return bytes as text, in UTF-8 or else in Latin-1, without zeros at the end.

    >>> _decoded("café".encode()), _decoded("café".encode("latin-1")), _decoded(None)
    ('café', 'café', '')
    """
    if not isinstance(value, bytes):
        return value or ""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return text.rstrip("\0")


def options(description: Description, format: str) -> dict[str, object]:
    """Return Pillow's options that write as much of a description as a format holds.

    PNG's go into its `pnginfo` (see `add_texts`), TIFF's into the tag IPTC_TAG.
    """
    made: dict[str, object] = {}
    if format == "JPEG":
        if description.iptc:
            made["extra"] = _segment(iim(description))
        if comment := dict(description.texts).get(COMMENT):
            made["comment"] = comment.encode()
    return made


def add_texts(description: Description, chunks: PngInfo) -> None:
    """Add a description's texts to a PNG's chunks."""
    for keyword, text in description.texts:
        chunks.add_text(keyword, text)


def iim(description: Description) -> bytes:
    r"""Return a description's IPTC as IIM: datasets in UTF-8, behind one that says so.

    >>> iim(Description(iptc=((25, "sea"),)))[-8:]
    b'\x1c\x02\x19\x00\x03sea'
    """
    sets = [(1, 90, b"\x1b%G"), (2, VERSION, b"\0\4")]
    sets += [(2, number, text.encode()) for number, text in description.iptc]
    return b"".join(
        struct.pack(">BBBH", 0x1C, record, number, len(value)) + value
        for record, number, value in sets
    )


def _segment(content: bytes) -> bytes:
    """Return IIM as the segment of a JPEG file, APP13, in which Photoshop keeps it."""
    block = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(content)) + content
    block = b"Photoshop 3.0\0" + block + bytes(len(content) % 2)
    return b"\xff\xed" + struct.pack(">H", len(block) + 2) + block


def lost(description: Description, format: str) -> list[str]:
    """Name what a format cannot hold of a description.

    >>> lost(Description(texts=(("Author", "Ada"),)), "WEBP")
    ['its text (Author)']
    """
    iptc = [] if format in ("JPEG", "TIFF") else [NAMES[number] for number, _ in description.iptc]
    held = {"PNG": None, "JPEG": (COMMENT,)}.get(format, ())
    texts = [] if held is None else [key for key, _ in description.texts if key not in held]
    named = (("IPTC", iptc), ("text", texts))
    return [f"its {kind} ({', '.join(dict.fromkeys(names))})" for kind, names in named if names]
