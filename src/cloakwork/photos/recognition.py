"""Which files are taken for photos: by their ending, and where that says nothing, by their first
bytes.
"""

from __future__ import annotations

import re
from pathlib import Path

EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".heic", ".heif", ".avif"}
)
"""File name endings (lower case) that are taken for photos in a folder."""

# how programs name what they put aside beside a photo: a backup, a download that has not ended, the
# thumbnail of a raw file or a film
ASIDE = re.compile(r"~$|_original$|\.(bak|orig|old|tmp|part|crdownload|download|thm)$", re.I)
# brands of the ISO container whose pictures are read; films and raw files are in others
BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"avif")
LOOKED_AT = 16  # bytes


def is_photo(path: Path) -> bool:
    """Return whether a file is taken for a photo.

    Raw files are not: most begin like a TIFF file, but the picture in it is a thumbnail.
    """
    return path.suffix.lower() in EXTENSIONS or (
        not ASIDE.search(path.name) and path.is_file() and begins_like_a_photo(_first_bytes(path))
    )


def begins_like_a_photo(first: bytes) -> bool:
    r"""Return whether a file is a JPEG, PNG, WebP, HEIC or AVIF by its first 16 bytes.

    >>> begins_like_a_photo(b"\xff\xd8\xff\xe0"), begins_like_a_photo(b"GIF89a")
    (True, False)
    """
    return (
        first.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"))
        or (first.startswith(b"RIFF") and first[8:12] == b"WEBP")
        or (first[4:8] == b"ftyp" and first[8:12] in BRANDS)
    )


def _first_bytes(path: Path) -> bytes:
    """Return a file's first bytes; none where it may not be read."""
    try:
        with open(path, "rb") as file:
            return file.read(LOOKED_AT)
    except OSError:
        return b""
