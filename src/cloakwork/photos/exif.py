"""EXIF that is kept of a photo: known fields, of the kind and length that the standard gives them.

Any field may hold a whole picture. So what is not known is left out, and so is what does not look
as the field should: a text that is no words, a number that is a thousand numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from PIL import Image
from PIL.ExifTags import GPS, GPSTAGS, IFD, TAGS, Base
from PIL.TiffImagePlugin import IFDRational

from cloakwork.photos.texts import in_pieces, is_text

TEXT, CODED, WIDE, NUMBERS = "text", "coded", "wide", "numbers"
"""Kinds of fields: plain text; text behind 8 bytes that name its code; text in UTF-16; a few
numbers or bytes."""

FEW = 8  # numbers or bytes of a field; the standard's own have as many at most

MAIN: Mapping[int, str] = {
    Base.ImageDescription: TEXT,
    Base.Make: TEXT,
    Base.Model: TEXT,
    Base.XResolution: NUMBERS,
    Base.YResolution: NUMBERS,
    Base.ResolutionUnit: NUMBERS,
    Base.Software: TEXT,
    Base.DateTime: TEXT,
    Base.Artist: TEXT,
    Base.HostComputer: TEXT,
    Base.Rating: NUMBERS,
    Base.RatingPercent: NUMBERS,
    Base.Copyright: TEXT,
    Base.XPTitle: WIDE,
    Base.XPComment: WIDE,
    Base.XPAuthor: WIDE,
    Base.XPKeywords: WIDE,
    Base.XPSubject: WIDE,
}
"""Fields of the main directory that describe the photo. The others (strips, tiles, previews) tell
how one file stores it."""

STRUCTURE = 700
"""Below it, and in some above, the main directory tells how the file stores the photo: nothing that
is missed in another file."""
STORED_ELSEWHERE = (IFD.Exif, IFD.GPSInfo, IFD.Interop, 700, 33723, 34675)  # XMP, IPTC, profile
SUB_IFDS = 0x014A

CAMERA_NUMBERS = frozenset(
    "AmbientTemperature Acceleration ApertureValue BrightnessValue CFAPattern "
    "CameraElevationAngle ColorSpace ComponentsConfiguration CompositeImage CompositeImageCount "
    "CompressedBitsPerPixel Contrast CustomRendered DigitalZoomRatio ExifImageHeight "
    "ExifImageWidth ExifVersion ExposureBiasValue ExposureIndex ExposureMode ExposureProgram "
    "ExposureTime FNumber FileSource Flash FlashEnergy FlashPixVersion FocalLength "
    "FocalLengthIn35mmFilm FocalPlaneResolutionUnit FocalPlaneXResolution FocalPlaneYResolution "
    "GainControl Gamma Humidity ISOSpeed ISOSpeedLatitudeyyy ISOSpeedLatitudezzz ISOSpeedRatings "
    "ImageNumber LensSpecification LightSource MaxApertureValue MeteringMode Pressure "
    "RecommendedExposureIndex Saturation SceneCaptureType SceneType SelfTimerMode SensingMethod "
    "SensitivityType Sharpness ShutterSpeedValue StandardOutputSensitivity SubjectDistance "
    "SubjectDistanceRange SubjectLocation TimeZoneOffset WaterDepth WhiteBalance".split()
)
CAMERA_TEXTS = frozenset(
    "BodySerialNumber CameraOwnerName DateTimeDigitized DateTimeOriginal ImageUniqueID LensMake "
    "LensModel LensSerialNumber OffsetTime OffsetTimeDigitized OffsetTimeOriginal "
    "RelatedSoundFile SpectralSensitivity SubsecTime SubsecTimeDigitized "
    "SubsecTimeOriginal".split()
)
CAMERA: Mapping[int, str] = {
    **{tag: NUMBERS for tag, name in TAGS.items() if name in CAMERA_NUMBERS},
    **{tag: TEXT for tag, name in TAGS.items() if name in CAMERA_TEXTS},
    **dict.fromkeys(range(0xA436, 0xA43D), TEXT),  # EXIF 3.0: title, photographer, programs
    Base.UserComment: CODED,
}
"""Fields of the camera's directory: exposure, lens, times, names."""

PLACE_TEXTS = frozenset(
    "GPSDateStamp GPSDestBearingRef GPSDestDistanceRef GPSDestLatitudeRef GPSDestLongitudeRef "
    "GPSImgDirectionRef GPSLatitudeRef GPSLongitudeRef GPSMapDatum GPSMeasureMode GPSSatellites "
    "GPSSpeedRef GPSStatus GPSTrackRef".split()
)
PLACE: Mapping[int, str] = {
    **{tag: TEXT if name in PLACE_TEXTS else NUMBERS for tag, name in GPSTAGS.items()},
    GPS.GPSProcessingMethod: CODED,
    GPS.GPSAreaInformation: CODED,
}
"""Fields of the place's directory (GPS)."""

WHERE = (
    GPS.GPSLatitude,
    GPS.GPSLongitude,
    GPS.GPSDestLatitude,
    GPS.GPSDestLongitude,
    GPS.GPSAreaInformation,
)
"""Those of them that say where it was."""

DAMAGED = ["all, which is damaged"]


def orientation(image: Image.Image) -> int:
    """Return an open image's EXIF orientation: 1 (upright) where there is none or it is damaged."""
    try:
        return image.getexif().get(Base.Orientation, 1)
    except Exception:
        # damaged metadata makes Pillow raise nearly anything; the pixels are sound all the same
        return 1


def kept_exif(image: Image.Image) -> tuple[bytes | None, list[str]]:
    """Return what is kept of an open image's EXIF, without its orientation.

    Makers' notes point to places in the original file, so they would break anyhow; some hold a
    preview.

    Returns:
        The block (None where nothing is left, or it is damaged), and the names of what is not kept.
    """
    try:
        exif = image.getexif()
        if not exif and image.info.get("exif"):
            return None, DAMAGED
        block = Image.Exif()
        for tag in MAIN:
            if tag in exif and _fits(exif[tag], MAIN[tag]):
                block[tag] = _as_it_was(exif[tag])
        dropped = [_name(tag) for tag in exif if _is_missed(tag) and tag not in block]
        for group, kinds in ((IFD.Exif, CAMERA), (IFD.GPSInfo, PLACE)):
            values = exif.get_ifd(group)
            kept = {t: v for t, v in values.items() if t in kinds and _fits(v, kinds[t])}
            if kept:
                block[group] = kept
            dropped += [_name(t, group) for t in values if t not in kept and t != IFD.Interop]
        if in_pieces(_texts_of(block)):
            return None, ["all, which looks like a picture in pieces"]
        if exif.get_ifd(IFD.IFD1):
            dropped.append("the preview")
        return (block.tobytes() if len(block) else None), dropped
    except Exception:  # as above
        return None, DAMAGED


def _texts_of(block: Image.Exif) -> Iterator[str]:
    """Yield the values of a block that are texts or bytes."""
    for group in (block, block.get(IFD.Exif, {}), block.get(IFD.GPSInfo, {})):
        for value in group.values():
            if isinstance(value, str | bytes):
                yield value if isinstance(value, str) else _decoded(value.replace(b"\0", b""))


def _is_missed(tag: int) -> bool:
    """Return whether a field of the main directory says more than how the file is stored."""
    return tag in MAIN or tag == SUB_IFDS or (tag > STRUCTURE and tag not in STORED_ELSEWHERE)


def _name(tag: int, group: int = 0) -> str:
    """Return the name of a field; its number in hexadecimal digits where it has none.

    >>> _name(0x9286, IFD.Exif), _name(27, IFD.GPSInfo), _name(0x9999, IFD.Exif)
    ('UserComment', 'GPSProcessingMethod', '0x9999')
    """
    return (GPSTAGS if group == IFD.GPSInfo else TAGS).get(tag, f"0x{tag:04X}")


def _as_it_was(value: Any) -> Any:
    r"""Return a text as the bytes of the file: Pillow writes "?" for what is not ASCII.

    >>> _as_it_was("Ada"), _as_it_was("José")
    ('Ada', b'Jos\xe9')
    """
    return value.encode("latin-1") if isinstance(value, str) and not value.isascii() else value


def _fits(value: Any, kind: str) -> bool:
    r"""Return whether a value is of its field's kind.

    >>> _fits("Ada", TEXT), _fits(b"ASCII\0\0\0Ada", CODED), _fits((1, 2), NUMBERS)
    (True, True, True)
    >>> _fits((1,) * 9, NUMBERS), _fits("7", NUMBERS), _fits(b"ASCII\0\0\0\1\2", CODED)
    (False, False, False)
    """
    if kind == NUMBERS:
        values = value if isinstance(value, tuple | bytes) else (value,)
        numbers = all(isinstance(v, int | float | IFDRational) for v in values)
        return len(values) <= FEW and numbers
    if kind == TEXT:
        return isinstance(value, str) and is_text(_decoded(value.encode("latin-1", "replace")))
    if not isinstance(value, bytes):
        return False
    if kind == WIDE:
        return is_text(_wide(value, "utf-16-le"))
    code, text = value[:8], value[8:]
    if code.startswith(b"UNICODE"):
        return any(is_text(_wide(text, order)) for order in ("utf-16-le", "utf-16-be"))
    return (code.isascii() or not code.strip(b"\0")) and is_text(_decoded(text))


def _wide(text: bytes, order: str) -> str:
    """Decode UTF-16; what is none gives a text that cannot be printed."""
    try:
        return text.decode(order).rstrip("\0").removeprefix("\ufeff")
    except UnicodeDecodeError:
        return "\0"


def _decoded(text: bytes) -> str:
    """Decode text as cameras write it, without the blanks and zeros that fill its field."""
    text = text.rstrip(b"\0 ")
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("cp1252", "surrogateescape")


def read(block: bytes | None) -> Image.Exif:
    """Read an EXIF block of `kept_exif`; an empty one where there is none."""
    exif = Image.Exif()
    exif.load(block or b"")
    for tag, value in list(exif.items()):
        exif[tag] = _as_it_was(value)
    return exif


def exif_without_place(block: bytes | None) -> bytes | None:
    """Return an EXIF block of `kept_exif` without its place; None where nothing is left."""
    exif, less = read(block), Image.Exif()
    for tag in MAIN:
        if tag in exif:
            less[tag] = exif[tag]
    if camera := exif.get_ifd(IFD.Exif):
        less[IFD.Exif] = camera
    return less.tobytes() if len(less) else None


def exif_of_size(block: bytes | None, width: int, height: int) -> bytes | None:
    """Return an EXIF block of `kept_exif` that tells this size, where it told one, in pixels."""
    exif = read(block)
    sizes = {Base.ExifImageWidth: width, Base.ExifImageHeight: height}
    camera = exif.get_ifd(IFD.Exif)
    if not camera.keys() & sizes.keys():
        return block
    exif[IFD.Exif] = camera | {tag: size for tag, size in sizes.items() if tag in camera}
    return exif.tobytes()


def exif_has_place(block: bytes | None) -> bool:
    """Return whether an EXIF block of `kept_exif` says where the photo was taken."""
    place = read(block).get_ifd(IFD.GPSInfo)
    return any(tag in place for tag in WHERE)
