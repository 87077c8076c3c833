"""Photos out: files that hold pixels with what the original had beside them, and what they lose.

A file is whole or not there at all, and never takes the original's place. Pixels are 8 bits per
channel; a budget is counted in 1/255 of the pixel range on the saved file.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import XMP
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.files import atomic_write, permissions
from cloakwork.photos import descriptions
from cloakwork.photos.exif import exif_without_place, read
from cloakwork.photos.photo import Photo
from cloakwork.photos.tensors import pixels_of_pil
from cloakwork.photos.xmp import xmp_without_place

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".bmp": "BMP",
}
"""File name endings that can be written, and the format each one stands for."""


JPEG_QUALITY = 95  # where none was asked for


def check_target(photo: Photo, path: Path, *, strip_metadata: bool = False) -> None:
    """Refuse a file that could not hold the photo.

    `save_photo` calls it in any case; call it before a long computation too.

    Raises:
        UserError: the ending is unknown, the file is the photo itself, or the format cannot hold
            the photo's transparency, colour profile, sides or metadata.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise UserError(
            f"{path} ends in '{path.suffix}'; allowed are {', '.join(FORMATS)}; choose one of them."
        )
    if path.exists() and photo.path.exists() and path.samefile(photo.path):
        raise UserError(
            f"{path} is the original, which is never overwritten; choose another output folder."
        )
    if photo.alpha is not None and FORMATS[suffix] in ("JPEG", "BMP") and (photo.alpha < 255).any():
        raise UserError(
            f"{photo.path} has transparent parts, which {suffix} cannot hold; "
            "choose .png, .webp or .tif."
        )
    if photo.icc is not None and FORMATS[suffix] == "BMP":
        raise UserError(
            f"{photo.path} has a colour profile, which .bmp cannot hold; "
            "choose .png, .webp or .tif."
        )
    _check_fit(photo, path, strip_metadata)


def _check_fit(photo: Photo, path: Path, strip_metadata: bool) -> None:
    """Refuse sides and metadata beyond what a format can count.

    A black column and a black row are encoded, so that nobody has to know the formats' limits.
    """
    height, width = photo.pixels.shape[1:]
    for h, w in ((height, 1), (1, width)):
        alpha = None if photo.alpha is None else photo.alpha[:h, :w]
        strip = replace(photo, pixels=photo.pixels.new_zeros(3, h, w), alpha=alpha)
        _encode(strip.pixels, strip, path, None, strip_metadata)


def save_photo(
    pixels: Tensor,
    photo: Photo,
    path: Path,
    *,
    quality: int | None = None,
    halved: bool = False,
    strip_metadata: bool = False,
    strip_gps: bool = False,
    force: bool = False,
) -> None:
    """Write pixels with the transparency, colour profile and metadata of a photo.

    The file appears whole or not at all, also when the disk is full. It takes the original's
    permissions. Every format is lossless, but for
    JPEG, and WebP with a quality.

    Args:
        pixels: 3 x H x W, uint8, RGB, of the photo's size.
        photo: the original.
        path: its ending is the format: .png, .jpg, .jpeg, .webp, .tif, .tiff or .bmp. Missing
            folders are made.
        quality: of JPEG, 1 to 100, else JPEG_QUALITY. With one, WebP is lossy too.
        halved: colours of JPEG have half the resolution both ways (4:2:0), as platforms have them;
            else they have all of it (4:4:4).
        strip_metadata: drop EXIF, XMP, description and resolution. The colour profile stays:
            without it the colours would change.
        strip_gps: drop the place where it was taken (GPS) alone.
        force: overwrite an existing file. Never the original.

    Raises:
        UserError: see `check_target`; or the file exists, the quality is out of range, or the file
            cannot be written.
    """
    check_target(photo, path, strip_metadata=strip_metadata)
    check_quality(quality)
    if os.path.lexists(path) and not force:
        raise UserError(
            f"{path} exists and is not overwritten; choose another output folder, or force it."
        )
    source = _without_place(photo) if strip_gps else photo
    content = _encode(pixels, source, path, quality, strip_metadata, halved)
    mode = permissions(photo.path) if photo.path.exists() else None
    with atomic_write(path, sweep=False, mode=mode) as part:
        part.write_bytes(content)


def _without_place(photo: Photo) -> Photo:
    """Return a photo whose metadata do not say where it was taken."""
    exif, xmp = exif_without_place(photo.exif), xmp_without_place(photo.xmp)
    return replace(photo, exif=exif, xmp=xmp)


def after_encoding(
    pixels: Tensor, photo: Photo, path: Path, quality: int | None, *, halved: bool = False
) -> Tensor:
    """Encode and decode pixels as `save_photo` would, without writing a file.

    Args:
        pixels: 3 x H x W, uint8, RGB, of the photo's size.
        photo: the original.
        path: its ending is the format.
        quality, halved: as of `save_photo`.

    Returns:
        3 x H x W, uint8: what a file at `path` would hold.
    """
    content = _encode(pixels, photo, path, quality, True, halved)
    return pixels_of_pil(Image.open(io.BytesIO(content)))


def _encode(
    pixels: Tensor,
    photo: Photo,
    path: Path,
    quality: int | None,
    strip_metadata: bool,
    halved: bool = False,
) -> bytes:
    """Return the content of a photo's file; see `save_photo`."""
    format = FORMATS[path.suffix.lower()]
    # an alpha that is opaque throughout says nothing, and may go
    holds_alpha = format not in ("JPEG", "BMP")
    alpha = [photo.alpha[None]] if photo.alpha is not None and holds_alpha else []
    planes = torch.cat([pixels.cpu(), *alpha]).permute(1, 2, 0).contiguous()
    options = _pixel_options(photo, format, quality, halved)
    if not strip_metadata:
        options |= _metadata_options(photo, format)
    file = io.BytesIO()
    try:
        Image.fromarray(planes.numpy()).save(file, format, **options)
    except (OSError, ValueError, struct.error) as error:
        # a side or a block of metadata beyond what the format can count
        reason = f"({error}); choose .png"
        if strip_metadata:
            raise UserError(f"{photo.path} does not fit into {path.suffix} {reason}.") from None
        _encode(pixels, photo, path, quality, True)
        raise UserError(
            f"The metadata of {photo.path} does not fit into {path.suffix} {reason}, or leave it "
            "out, as protect does with --strip-metadata."
        ) from None
    return file.getvalue()


def _pixel_options(photo: Photo, format: str, quality: int | None, halved: bool) -> dict[str, Any]:
    """Return Pillow's options for pixels and their colours."""
    options: dict[str, Any] = {} if photo.icc is None else {"icc_profile": photo.icc}
    if format == "JPEG":
        options["quality"] = JPEG_QUALITY if quality is None else quality
        options["subsampling"] = "4:2:0" if halved else "4:4:4"
    if format == "WEBP":
        options |= {"lossless": True} if quality is None else {"quality": quality}
        options["exact"] = True  # colours under transparent parts are kept too
    # of TIFF none: the compressing writer cannot hold the camera's and the place's part of EXIF
    return options


def _metadata_options(photo: Photo, format: str) -> dict[str, object]:
    """Return Pillow's options for the metadata; it takes XMP in another way for each format."""
    options: dict[str, object] = {"dpi": photo.dpi} if photo.dpi is not None else {}
    if format == "TIFF":
        tags = read(photo.exif)
        if photo.xmp is not None:
            tags[XMP] = photo.xmp
        if photo.description.iptc:
            tags[descriptions.IPTC_TAG] = descriptions.iim(photo.description)
        return options | {"exif": tags}
    if photo.exif is not None:
        options["exif"] = photo.exif
    if format == "PNG":
        options["pnginfo"] = chunks = PngInfo()
        descriptions.add_texts(photo.description, chunks)
        if photo.xmp is not None:
            chunks.add_itxt("XML:com.adobe.xmp", photo.xmp.decode("utf-8", "replace"))
    elif photo.xmp is not None:
        options["xmp"] = photo.xmp
    return options | descriptions.options(photo.description, format)


def loses(path: Path, quality: int | None) -> bool:
    """Return whether a photo's file does not hold its pixels exactly, by its ending.

    >>> loses(Path("a.jpg"), None), loses(Path("a.webp"), None), loses(Path("a.webp"), 90)
    (True, False, True)
    """
    format = FORMATS.get(path.suffix.lower())
    return format == "JPEG" or (format == "WEBP" and quality is not None)


def quality_key(paths: Iterable[Path], quality: int | None) -> tuple[int, list[str]]:
    """Return what a quality is in the hash of a job: a number, and what came to hashes later.

    >>> quality_key([Path("a.jpg")], None), quality_key([Path("a.webp")], 60)
    ((95, []), (60, ['lossy WebP']))
    """
    if quality is None:
        return JPEG_QUALITY, []
    webp = any(FORMATS.get(path.suffix.lower()) == "WEBP" for path in paths)
    return quality, ["lossy WebP"] if webp else []


def idle_quality(paths: Iterable[Path], quality: int | None) -> list[str]:
    """Return the note on a quality that no file has a use for.

    >>> idle_quality([Path("a.png"), Path("b.bmp")], 60)
    ['The quality 60 has no effect: .bmp and .png are lossless.']
    """
    paths = list(paths)
    if quality is None or any(loses(path, quality) for path in paths):
        return []
    endings = sorted({path.suffix.lower() for path in paths})
    are = "is" if len(endings) == 1 else "are"
    return [f"The quality {quality} has no effect: {' and '.join(endings)} {are} lossless."]


def check_quality(quality: int | None) -> None:
    """Refuse a quality that is not 1 to 100; None is none that was asked for.

    Raises:
        UserError: the quality is out of range.
    """
    if quality is not None and not 1 <= quality <= 100:
        raise UserError(
            f"The quality {quality} is out of range; allowed are 1 to 100, and 95 is a good choice."
        )
