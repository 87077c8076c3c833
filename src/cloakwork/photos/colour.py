"""Find out in which colours a photo's numbers are, wherever its file says so.

Most files embed an ICC profile. Others name their colours: cameras' Adobe RGB by EXIF alone, PNG by
the chunks cICP, sRGB, gAMA and cHRM, HEIC and AVIF by the code points of video (nclx). Their pixels
stay as they are, and get a profile that says the same, which every output format but BMP can carry.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.ExifTags import IFD, Base, Interop
from PIL.PngImagePlugin import PngImageFile

from cloakwork.errors import UserError
from cloakwork.photos.avif import avif_facts
from cloakwork.photos.profiles import SRGB_CURVE, Space, matrix_profile

D65, C, DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)  # whites, x and y
SRGB = Space((0.64, 0.33, 0.30, 0.60, 0.15, 0.06), D65, SRGB_CURVE)
# 563 / 256, as its specification of 2005 has it
ADOBE = Space((0.64, 0.33, 0.21, 0.71, 0.15, 0.06), D65, (563 / 256,))
VIDEO = (1 / 0.45, 1 / 1.099, 0.099 / 1.099, 1 / 4.5, 0.081)
VIDEO_240 = (1 / 0.45, 1 / 1.1115, 0.1115 / 1.1115, 1 / 4, 0.0912)
NTSC = (0.630, 0.340, 0.310, 0.595, 0.155, 0.070)

PRIMARIES = {
    1: (SRGB.primaries, D65),
    2: (SRGB.primaries, D65),  # not told, which means those of sRGB
    4: ((0.67, 0.33, 0.21, 0.71, 0.14, 0.08), C),
    5: ((0.64, 0.33, 0.29, 0.60, 0.15, 0.06), D65),
    6: (NTSC, D65),
    7: (NTSC, D65),
    9: ((0.708, 0.292, 0.170, 0.797, 0.131, 0.046), D65),
    11: ((0.680, 0.320, 0.265, 0.690, 0.150, 0.060), DCI),
    12: ((0.680, 0.320, 0.265, 0.690, 0.150, 0.060), D65),
    22: ((0.630, 0.340, 0.295, 0.605, 0.155, 0.077), D65),
}
"""Code points of ITU-T H.273 -> primaries and white."""

CURVES = {
    1: VIDEO,
    2: SRGB_CURVE,  # not told
    4: (2.2,),
    5: (2.8,),
    6: VIDEO,
    7: VIDEO_240,
    8: (1.0,),
    13: SRGB_CURVE,
    14: VIDEO,
    15: VIDEO,
}
"""Likewise, transfer characteristics -> curve. None of them goes beyond white, as 16 and 18 do."""

HDR = {16: "PQ", 18: "HLG"}
NAMES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
NEAR_GAMMA = 0.01  # share by which a gamma may differ from 1 / 2.2 and mean sRGB
NEAR_XY = 0.002  # the same for x and y: files round them to two or three digits
ADOBE_ALONE = 2  # ColorSpace by which some programs say Adobe RGB
UNCALIBRATED = 65535  # ColorSpace of all that is not sRGB


@dataclass(frozen=True)
class Colours:
    """In which colours a photo's numbers are.

    Attributes:
        icc: its profile, None for sRGB.
        embedded: whether the file holds the profile, which may then be one of grey or CMYK; one
            that is not embedded describes RGB.
        notes: sentences on what is not known.
    """

    icc: bytes | None
    embedded: bool = False
    notes: tuple[str, ...] = ()


def colours_of(path: Path, image: Image.Image) -> Colours:
    """Return the colours of an open and decoded image.

    Where a file says it twice, that counts which its format ranks first: in PNG cICP, an embedded
    profile, sRGB, gAMA and cHRM; in HEIC and AVIF an embedded profile. EXIF comes last.

    Args:
        path: the file, for what Pillow does not tell.
        image: opened from it.

    Raises:
        UserError: they go beyond white (HDR), or nobody knows them.
    """
    embedded = image.info.get("icc_profile")
    codes = _code_points(path, image)
    if codes is not None and (embedded is None or image.format == "PNG"):
        return Colours(_by_code_points(path, *codes))
    if embedded is not None or image.mode == "CMYK":
        return Colours(embedded, embedded is not None)
    if image.format == "PNG" and "srgb" in image.info:
        return Colours(None)
    if image.format == "PNG" and {"gamma", "chromaticity"} & set(image.info):
        return _by_chunks(image.info)
    return Colours(None) if codes is not None else _by_exif(image)


def _code_points(path: Path, image: Image.Image) -> tuple[int, int] | None:
    """Return primaries and transfer where the file names them as video does.

    Raises:
        UserError: a PNG holds its pixels as video does too, which nothing shows rightly.
    """
    if isinstance(image, PngImageFile):
        chunk = _cicp(path)
        if chunk is None:
            return None
        primaries, transfer, matrix, full = chunk
        if matrix != 0 or full != 1:
            raise UserError(
                f"{path} holds its colours as video does (its chunk cICP says so) where RGB of the "
                "full range is allowed; save it as a PNG or JPEG in sRGB."
            )
        return primaries, transfer
    if image.format == "AVIF":
        nclx = avif_facts(path).nclx
        return None if nclx is None else nclx[:2]
    nclx = image.info.get("nclx_profile")  # HEIC
    return nclx and (int(nclx["color_primaries"]), int(nclx["transfer_characteristics"]))


def _cicp(path: Path) -> tuple[int, int, int, int] | None:
    """Return the chunk cICP of a PNG file, which Pillow passes over: primaries, transfer, matrix,
    whether the range is full.
    """
    with open(path, "rb") as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"cICP" and length == 4:
                return struct.unpack(">4B", file.read(4))
            if kind in (b"IDAT", b"IEND"):
                break
            file.seek(length + 4, 1)
    return None


def _by_code_points(path: Path, primaries: int, transfer: int) -> bytes | None:
    """Return the profile of code points, None for sRGB's.

    Raises:
        UserError: they go beyond white, or stand for nothing.
    """
    if transfer in HDR:
        raise UserError(
            f"{path} is an HDR photo ({HDR[transfer]}) where the standard range is allowed; "
            "save a copy in sRGB and protect that one."
        )
    if primaries not in PRIMARIES or transfer not in CURVES:
        raise UserError(
            f"{path} has colours of a rare kind (primaries {primaries}, transfer {transfer} of "
            "H.273); save a copy in sRGB and protect that one."
        )
    space = Space(*PRIMARIES[primaries], CURVES[transfer])
    name = NAMES.get(primaries, f"H.273 primaries {primaries}")
    if CURVES[transfer] != SRGB_CURVE:
        name += f", transfer {transfer}"
    return None if space == SRGB else matrix_profile(name, space)


def _by_chunks(info: dict[str | tuple[int, int], Any]) -> Colours:
    """Return the colours that PNG's gAMA and cHRM tell; those that are not told are sRGB's."""
    gamma, xy = info.get("gamma"), info.get("chromaticity")
    primaries, white, curve = SRGB.primaries, SRGB.white, SRGB_CURVE
    named = []
    if xy is not None and not _near(xy, (*SRGB.white, *SRGB.primaries)):
        primaries, white = tuple(xy[2:]), tuple(xy[:2])
        named.append("cHRM")
    if gamma is not None and (named or abs(gamma * 2.2 - 1) > NEAR_GAMMA):
        curve = (1 / gamma if gamma else 0.0,)
        named.append("gAMA")
    if not named:
        return Colours(None)
    try:
        return Colours(matrix_profile(f"PNG {' and '.join(named)}", Space(primaries, white, curve)))
    except ValueError:
        return Colours(
            None, notes=("Its chunks of colour are damaged: it is taken for a photo in sRGB.",)
        )


def _near(values: tuple[float, ...], others: tuple[float, ...]) -> bool:
    """Return whether chromaticities are the same but for how files round them.

    >>> _near((0.3127, 0.329), (0.313, 0.329)), _near((0.3127, 0.329), (0.345, 0.358))
    (True, False)
    """
    return all(abs(a - b) <= NEAR_XY for a, b in zip(values, others, strict=True))


def _by_exif(image: Image.Image) -> Colours:
    """Return the colours that EXIF tells: sRGB, or Adobe RGB as cameras say it (DCF 2.0)."""
    try:
        exif = image.getexif()
        space = exif.get_ifd(IFD.Exif).get(Base.ColorSpace)
        index = exif.get_ifd(IFD.Interop).get(Interop.InteropIndex)
    except Exception:
        # damaged metadata makes Pillow raise nearly anything; the pixels are sound all the same
        return Colours(None)
    if space == ADOBE_ALONE or (space != 1 and str(index).startswith("R03")):
        return Colours(matrix_profile("Compatible with Adobe RGB (1998)", ADOBE))
    if space == UNCALIBRATED:
        note = "Its EXIF says that it is not in sRGB, but not in what: it is taken for sRGB."
        return Colours(None, notes=(note,))
    return Colours(None)
