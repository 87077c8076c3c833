"""Decode the file of a photo to upright RGB pixels, or refuse it with one clear sentence."""

from __future__ import annotations

import importlib
import io
import logging
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

from cloakwork.errors import UserError
from cloakwork.files import without_stderr
from cloakwork.photos.avif import avif_facts
from cloakwork.photos.colour import Colours, colours_of
from cloakwork.photos.descriptions import Description, description_of
from cloakwork.photos.exif import orientation
from cloakwork.photos.metadata import kept, kept_dpi

# holds the largest cameras (a 200-megapixel phone); beyond it, a small file may fill the memory
MAX_PIXELS = 200_000_000
MIN_SIDE = 64  # pixels; below it the autoencoders of diffusion models have nothing to work on

# Pillow has this one knob for the whole process: it warns beyond the limit and fails beyond twice
# of it. Its own limit would warn about photos of 90 megapixels and refuse those of 180; decode()
# turns the warning into a refusal as well.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS

# Pillow logs what it thinks of a damaged TIFF; without a handler Python prints it beside our
# sentence. Who sets up logging still sees it.
logging.getLogger("PIL").addHandler(logging.NullHandler())

T = TypeVar("T")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a photo upright, by its EXIF orientation; 1 is upright."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """An upright image of mode RGB or RGBA, and the metadata that is kept (see `photo.Photo`)."""

    image: Image.Image
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    dpi: tuple[float, float] | None
    description: Description
    notes: tuple[str, ...]


def decode(path: Path) -> Decoded:
    """Decode one photo; see `photo.load_photo`.

    Raises:
        UserError: one sentence that says what is wrong with the file.
    """
    return _opened(path, partial(_decode, path))


def header_size(path: Path) -> tuple[int, int]:
    """Return width and height of a photo as its header tells them; no pixel is decoded.

    Raises:
        UserError: one sentence that says what is wrong with the file, as far as the header tells.
    """

    def size(image: Image.Image) -> tuple[int, int]:
        _check_image(path, image)
        return image.size

    return _opened(path, size)


def _opened(path: Path, look: Callable[[Image.Image], T]) -> T:
    """Return what is found in the open file of a photo; see `decode`."""
    _check_file(path)
    try:
        with warnings.catch_warnings(), open(path, "rb") as file:
            warnings.simplefilter("ignore")  # a slip in the metadata is not the user's business
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return look(Image.open(file, formats=_formats()))
    except (UserError, MemoryError):
        raise
    except PermissionError:
        raise UserError(
            f"{path} may not be read; give yourself the permission to read it."
        ) from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        limit = MAX_PIXELS // 1_000_000
        raise UserError(
            f"{path} has more than the {limit} megapixels that are allowed; make it smaller."
        ) from None
    except UnidentifiedImageError:
        raise UserError(_unidentified(path)) from None
    except Exception as error:
        # a damaged file makes decoders raise nearly anything: OSError, SyntaxError, struct.error
        reason = " ".join(str(error).split())  # some say it on several lines
        raise UserError(
            f"{path} is damaged or cut short ({reason}); fetch it again from where it came from."
        ) from None


def _decode(path: Path, image: Image.Image) -> Decoded:
    _check_image(path, image)
    if image.format == "TIFF":
        with without_stderr():
            image.load()
    else:
        image.load()
    colours = colours_of(path, image)
    rgb, icc, converted = _rgb(image, colours)
    if (turn := UPRIGHT.get(orientation(image))) is not None:
        rgb = rgb.transpose(turn)
    data = kept(path, image, icc)
    description, unkept = description_of(image)
    return Decoded(
        rgb,
        data.icc,
        data.exif,
        data.xmp,
        kept_dpi(image.info.get("dpi")),
        description,
        notes=(*colours.notes, *converted, *data.notes, *unkept),
    )


def _check_file(path: Path) -> None:
    """Refuse what is no file, before it is opened."""
    if os.path.isdir(path):
        raise UserError(
            f"{path} is a folder where the file of one photo is needed; name a photo in it."
        )
    if not os.path.lexists(path):
        raise UserError(f"{path} does not exist; check the spelling, or name another photo.")
    if not os.path.isfile(path):  # a pipe would make us wait for ever
        raise UserError(
            f"{path} is not a file (but a broken link, a pipe or a device); "
            "name the file of a photo."
        )
    if os.path.getsize(path) == 0:
        raise UserError(f"{path} is empty (0 bytes); fetch it again from where it came from.")


@cache
def _formats() -> tuple[str, ...]:
    """Return the decoders that may see a file.

    They are fewer than Pillow has, so that a crafted file never reaches an exotic one.
    """
    formats = ("JPEG", "PNG", "WEBP", "TIFF", "BMP")
    try:
        importlib.import_module("pillow_heif").register_heif_opener()
    except ImportError:
        return (*formats, "AVIF")
    return (*formats, "HEIF", "AVIF")


def _unidentified(path: Path) -> str:
    """Return the sentence about a file that no decoder knows."""
    if path.suffix.lower() in (".heic", ".heif") and "HEIF" not in _formats():
        return (
            f"{path} needs the plug-in for HEIC photos; "
            "run: pip install pillow-heif, or save it as JPEG or PNG."
        )
    known = "JPEG, PNG, WebP, TIFF, BMP, AVIF, HEIC"
    return (
        f"{path} is not a photo in a known format ({known}), or its beginning is damaged; "
        "save it anew as JPEG or PNG."
    )


def _check_image(path: Path, image: Image.Image) -> None:
    """Refuse what the header tells already, before the pixels are decoded."""
    width, height = image.size
    _check_length(path, image)
    # Phones append depth or brightness maps to a JPEG, which make an "MPO" of several frames; the
    # first one is the photo.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise UserError(
            f"{path} is animated or has several pages ({frames}) where one picture is allowed; "
            "save one as PNG."
        )
    if min(width, height) < MIN_SIDE:
        raise UserError(
            f"{path} is {width} x {height} pixels where each side needs at least {MIN_SIDE}; "
            "use a larger photo."
        )
    if (bits := _bits(path, image)) > 8:
        raise UserError(
            f"{path} has {bits} bits per channel where 8 are allowed; "
            "save an 8-bit copy and protect that one."
        )
    if image.mode not in MODES:
        raise UserError(
            f"{path} has the colour model {image.mode} where grey, RGB or CMYK is allowed; "
            "save it as RGB."
        )


def _check_length(path: Path, image: Image.Image) -> None:
    """Refuse a JPEG that is too short for the pixels its header claims.

    Its decoder would fill the rest with grey, for half a minute and in gigabytes. Of every 8 x 8
    block a Huffman code says how bright it is, one bit at least, in progressive files too; a photo
    of a single colour takes 2 or 3.
    """
    blocks = math.prod(-(-side // 8) for side in image.size)
    size = os.path.getsize(path)
    if image.format in ("JPEG", "MPO") and 8 * size < blocks:
        raise UserError(
            f"{path} is damaged or cut short ({size} bytes cannot hold {image.width} x "
            f"{image.height} pixels); fetch it again from where it came from."
        )


def _bits(path: Path, image: Image.Image) -> int:
    """Return the bits per channel in the file.

    Pillow cuts deeper colours to their high byte without a word, so its mode tells nothing.
    """
    if isinstance(image, PngImageFile):
        return 16 if "16" in str(image.tile[0].args) else 8
    if isinstance(image, TiffImageFile):
        return max(image.tag_v2.get(BITSPERSAMPLE, (1,)))
    if image.format == "AVIF":
        return avif_facts(path).bits
    return image.info.get("bit_depth", 8)  # HEIF


def _rgb(image: Image.Image, colours: Colours) -> tuple[Image.Image, bytes | None, tuple[str, ...]]:
    """Return the image as RGB or RGBA, the profile that describes these pixels (None: sRGB), and
    what was converted.
    """
    mode = "RGBA" if image.has_transparency_data else "RGB"
    rgb = image if image.mode == mode else image.convert(mode)
    grey = image.mode in ("1", "L", "LA") and colours.embedded and not _of_rgb(colours.icc)
    if not grey and image.mode != "CMYK":
        return rgb, colours.icc, ()
    converted = None if colours.icc is None else _to_srgb(image, colours.icc)
    if converted is not None and mode == "RGBA":
        converted.putalpha(rgb.getchannel("A"))
    if grey and converted is None:
        note = "Its colour profile is damaged or none of grey: it is taken for a photo in sRGB."
    elif grey:
        note = "Its grey was converted through its profile to that of sRGB."
    else:
        how = "without a profile" if converted is None else "through its profile"
        note = f"Its colours were converted from CMYK to sRGB {how}."
    return converted or rgb, None, (note,)


def _of_rgb(icc: bytes | None) -> bool:
    """Return whether a profile is one of RGB; then it describes pixels of grey as well."""
    return icc is not None and icc[16:20] == b"RGB "


def _to_srgb(image: Image.Image, icc: bytes) -> Image.Image | None:
    """Convert a grey or CMYK image through its profile.

    Returns:
        The image in sRGB; None where the profile is broken or for another colour model.
    """
    source = image if image.mode == "CMYK" else image.convert("L")
    try:
        return ImageCms.profileToProfile(
            source,
            ImageCms.ImageCmsProfile(io.BytesIO(icc)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError):
        return None
