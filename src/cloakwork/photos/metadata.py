"""Metadata that is kept of a photo: everything that describes it, nothing that shows it.

Cameras and editors store small previews inside EXIF, XMP and makers' notes. In a protected photo
such a preview would be an unprotected copy of the original. So only what is known to be text or a
few numbers is kept, and what is left out is said.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from rich.filesize import decimal

from cloakwork.photos.beside import Beside, beside_photo
from cloakwork.photos.exif import kept_exif
from cloakwork.photos.texts import listed
from cloakwork.photos.xmp import SECOND_PICTURE, kept_xmp

KNOWN_SEGMENTS = (
    *(b"JFIF", b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"MPF\0"),
    *(b"Photoshop 3.0\0", b"Adobe"),
)
"""How the segments of a JPEG begin whose content is looked at elsewhere."""
PREVIEWS = {0x0409, 0x040C}  # resources of Photoshop

UNKNOWN = 256  # bytes; a shorter entry of a profile holds no picture
ENTRIES = frozenset(
    b"A2B0 A2B1 A2B2 A2B3 B2A0 B2A1 B2A2 B2A3 D2B0 D2B1 D2B2 D2B3 B2D0 B2D1 B2D2 B2D3 gamt pre0 "
    b"pre1 pre2 rXYZ gXYZ bXYZ rTRC gTRC bTRC kTRC wtpt bkpt lumi chad chrm cicp ciis clro clrt "
    b"clot cprt desc dmnd dmdd devs meas meta ncl2 pseq psid resp rig0 rig2 targ tech view vued "
    b"vcgt ndin mmod dscm aarg aagg aabg".split()
)
"""Entries of colour profiles that the ICC's standard knows, and those of a maker of displays."""


@dataclass(frozen=True)
class Kept:
    """What is kept of a photo beside its pixels; notes say what is not."""

    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    notes: tuple[str, ...]


def kept(path: Path, image: Image.Image, icc: bytes | None) -> Kept:
    """Return what is kept of an open image's metadata.

    Args:
        path: the file, for what Pillow does not tell.
        image: opened from it.
        icc: the profile of its pixels.
    """
    exif, of_exif = kept_exif(image)
    xmp, of_xmp = kept_xmp(image.info.get("xmp"))
    icc, of_icc = kept_profile(icc)
    beside = beside_photo(path, image.format)
    second = _has_second_picture(image, of_xmp, beside)
    kinds = {
        "EXIF": of_exif,
        "XMP": of_xmp,
        "colour profile": of_icc,
        "other parts of the file": list(dict.fromkeys(_foreign_blocks(image, beside, second))),
    }
    lost = [f"{kind} ({listed(names)})" for kind, names in kinds.items() if names]
    notes = [f"Left out, since it may show the original: {'; '.join(lost)}."] if lost else []
    if second:
        notes.append(
            "The file holds a second picture (a gain map, a depth map, another view or a film). "
            "It is left out."
        )
    return Kept(icc, exif, xmp, tuple(notes))


def _foreign_blocks(image: Image.Image, beside: Beside, second: bool) -> Iterator[str]:
    """Yield the names of what a file holds beside all that is known of its format."""
    for name, content in getattr(image, "applist", []):
        if name.startswith("APP") and not content.startswith(KNOWN_SEGMENTS):
            yield name
    if image.info.get("photoshop", {}).keys() & PREVIEWS:
        yield "Photoshop's preview"
    for name, *_ in getattr(image, "private_chunks", []):
        yield name.decode("latin-1")
    yield from beside.blocks
    # a JPEG's second picture lies there, and has a note of its own
    if beside.behind and not (second and image.format in ("JPEG", "MPO")):
        yield f"{_about(beside.behind)} behind the picture's end"


def _about(size: int) -> str:
    """Return a number of bytes to one digit, so that many photos get the same note.

    >>> _about(12), _about(12_345), _about(960_000)
    ('less than 1 kB', 'about 10 kB', 'about 1 MB')
    """
    rounded = round(size, 1 - len(str(size)))
    told = decimal(rounded).replace(".0", "")
    return f"about {told}" if rounded >= 1000 else "less than 1 kB"


def _has_second_picture(image: Image.Image, of_xmp: list[str], beside: Beside) -> bool:
    """Return whether the file holds a picture beside the photo, by what it says itself."""
    # JPEG's list of pictures (MPF); HEIF's depth maps and auxiliary pictures
    told = any(image.info.get(key) for key in ("mp", "depth_images", "aux"))
    return told or beside.second or any(name.startswith(SECOND_PICTURE) for name in of_xmp)


def kept_profile(icc: bytes | None) -> tuple[bytes | None, list[str]]:
    """Return a colour profile with nothing but its header, its directory and its known entries.

    A profile tells its own length. Bytes behind it, bytes that no entry claims and long entries of
    unknown names may be anything: the first are cut off, the others become 0.

    Returns:
        The profile (None for what is none), and the names of what is not kept.
    """
    if not icc:
        return None, []
    length, directory = int.from_bytes(icc[:4]), 132 + 12 * int.from_bytes(icc[128:132])
    if icc[36:40] != b"acsp" or not directory <= length <= len(icc):
        return None, ["all, which is damaged"]
    whole, own = icc[:length], bytearray(length)
    own[:directory] = whole[:directory]
    entries = list(struct.iter_unpack(">4sII", icc[132:directory]))
    strange = [name for name, _, size in entries if name not in ENTRIES and size > UNKNOWN]
    for start, size in (entry[1:] for entry in entries if entry[0] not in strange):
        own[start : start + size] = whole[start : start + size]
    gone = [f"the entry {name.decode('latin-1')!r}" for name in strange]
    if len(icc) > length:
        gone.append("the bytes behind its end")
    if own != whole and not strange:
        gone.append("the bytes between its entries")
    return bytes(own), gone


def kept_dpi(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return a resolution in dots per inch; None for one that says nothing (0, 1, NaN, a million).

    >>> kept_dpi((300, 300)), kept_dpi((1, 1))
    ((300.0, 300.0), None)
    """
    if dpi is None:
        return None
    x, y = (float(value) for value in dpi)
    return (x, y) if all(math.isfinite(value) and 1 < value < 65536 for value in (x, y)) else None
