"""Metadata that is kept of a photo: everything that describes it, nothing that shows it.

Cameras and editors store small previews inside EXIF, XMP and makers' notes. In a protected photo
such a preview would be an unprotected copy of the original, so previews are left out.
"""

from __future__ import annotations

import math
import re

from PIL import Image
from PIL.ExifTags import IFD, Base

DESCRIPTIVE = (
    Base.ImageDescription,
    Base.Make,
    Base.Model,
    Base.XResolution,
    Base.YResolution,
    Base.ResolutionUnit,
    Base.Software,
    Base.DateTime,
    Base.Artist,
    Base.HostComputer,
    Base.Rating,
    Base.RatingPercent,
    Base.Copyright,
    Base.XPTitle,
    Base.XPComment,
    Base.XPAuthor,
    Base.XPKeywords,
    Base.XPSubject,
)
"""Tags of the main directory that describe the photo. The others (strips, tiles, previews) tell how
one file stores it."""

ORIENTATION_IN_XMP = re.compile(rb'(tiff:Orientation(?:="|>))[1-8]')
PREVIEW_IN_XMP = re.compile(rb'((?:xmpGImg:image|GImage:Data)(?:="|>))[^"<]*')


def orientation(image: Image.Image) -> int:
    """Return an open image's EXIF orientation: 1 (upright) where there is none or it is damaged."""
    try:
        return image.getexif().get(Base.Orientation, 1)
    except Exception:
        # damaged metadata makes Pillow raise nearly anything; the pixels are sound all the same
        return 1


def kept_exif(image: Image.Image) -> bytes | None:
    """Return the EXIF block of an open image without orientation, previews and makers' notes.

    Makers' notes point to places in the original file, so they would break anyhow; some hold a
    preview.

    Returns:
        The block; None where nothing is left, or it is damaged.
    """
    try:
        exif = image.getexif()
        block = Image.Exif()
        for tag in DESCRIPTIVE:
            if tag in exif:
                block[tag] = exif[tag]
        for group in (IFD.Exif, IFD.GPSInfo):
            values = {
                tag: value
                for tag, value in exif.get_ifd(group).items()
                if tag not in (IFD.MakerNote, IFD.Interop)
            }
            if values:
                block[group] = values
        return block.tobytes() if len(block) else None
    except Exception:  # as above
        return None


def kept_xmp(xmp: bytes | None) -> bytes | None:
    """Return an XMP packet with its orientation set to 1 (upright) and its previews emptied.

    >>> kept_xmp(b'<x tiff:Orientation="6" xmpGImg:image="/9j/4AAQ"/>')
    b'<x tiff:Orientation="1" xmpGImg:image=""/>'
    """
    if not isinstance(xmp, bytes):
        return None
    return PREVIEW_IN_XMP.sub(rb"\1", ORIENTATION_IN_XMP.sub(rb"\g<1>1", xmp))


def kept_dpi(dpi: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return a resolution in dots per inch; None for one that says nothing (0, 1, NaN, a million).

    >>> kept_dpi((300, 300)), kept_dpi((1, 1))
    ((300.0, 300.0), None)
    """
    if dpi is None:
        return None
    x, y = (float(value) for value in dpi)
    return (x, y) if all(math.isfinite(value) and 1 < value < 65536 for value in (x, y)) else None
