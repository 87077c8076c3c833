"""Photos in: what a file of a photo holds. `saving` leads back, with the size, upright orientation,
transparency and colour profile that a photo came with.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cloakwork.photos.decoding import decode
from cloakwork.photos.descriptions import NOTHING, Description
from cloakwork.photos.exif import exif_has_place
from cloakwork.photos.profiles import is_made
from cloakwork.photos.xmp import xmp_has_place


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo as it was loaded.

    Attributes:
        path: the file it came from.
        pixels: 3 x H x W, uint8, RGB, upright, in the photo's own colour space (the one that `icc`
            describes).
        alpha: H x W, uint8, 255 is opaque; None for a photo without transparency.
        icc: colour profile of `pixels`; None means sRGB.
        exif: EXIF block whose orientation is reset and that holds no preview picture.
        xmp: XMP packet, likewise.
        dpi: horizontal and vertical resolution in dots per inch.
        digest: sha256 in hexadecimal over size, pixels and alpha; the same for the same picture
            under any file name.
        notes: what the file held that the photo does not, and what was converted while it was read;
            a sentence each, without the file's name.
        description: IPTC, texts of PNG, a comment of JPEG.
    """

    path: Path
    pixels: Tensor
    alpha: Tensor | None
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    dpi: tuple[float, float] | None
    digest: str
    notes: tuple[str, ...] = ()
    description: Description = NOTHING


def load_photo(path: Path | str) -> Photo:
    """Load one photo: JPEG, PNG, WebP, TIFF, BMP, AVIF, and HEIC with the plug-in pillow-heif.

    Palettes become RGB (with alpha, where colours are transparent); grey and CMYK become sRGB
    through their own profile. Colours that the file tells without a profile get one (see
    `colour`).

    Raises:
        UserError: one sentence, when there is no such file, or it is empty, damaged, not a photo,
            animated, deeper than 8 bits per channel, HDR, of a colour model other than grey, RGB
            and CMYK, larger than 200 megapixels, or smaller than 64 pixels on a side.
    """
    path = Path(path)
    decoded = decode(path)
    # 3 or 4 planes: red, green, blue, alpha
    planes = np.ascontiguousarray(np.asarray(decoded.image).transpose(2, 0, 1))
    tensor = torch.from_numpy(planes)
    return Photo(
        path=path,
        pixels=tensor[:3],
        alpha=tensor[3] if len(tensor) == 4 else None,
        icc=decoded.icc,
        exif=decoded.exif,
        xmp=decoded.xmp,
        dpi=decoded.dpi,
        digest=digest_of(planes),
        notes=decoded.notes,
        description=decoded.description,
    )


def digest_of(planes: np.ndarray) -> str:
    """Return the sha256, hex, over size and content of a photo's planes.

    Args:
        planes: 3 (RGB) or 4 (with alpha) x H x W, uint8, contiguous.
    """
    digest = hashlib.sha256(repr(planes.shape).encode())
    digest.update(planes.data)
    return digest.hexdigest()


def hides_colours(photo: Photo) -> bool:
    """Return whether pixels of a photo are transparent throughout, so that nobody sees them."""
    return photo.alpha is not None and bool((photo.alpha == 0).any())


def revisions(photo: Photo) -> frozenset[str]:
    """Name what earlier versions wrote otherwise of a photo; part of the keys of its results."""
    found = {
        "hidden colours kept": hides_colours(photo),
        "told colours kept": is_made(photo.icc),
        "description kept": bool(photo.description),
    }
    return frozenset(name for name, holds in found.items() if holds)


def keep_hidden(pixels: Tensor, photo: Photo) -> Tensor:
    """Return pixels with the photo's own colours under alpha 0, where nobody sees them.

    Args:
        pixels: 3 x H x W, uint8, RGB, of the photo's size.
        photo: the original.
    """
    if photo.alpha is None or not hides_colours(photo):
        return pixels
    return torch.where(photo.alpha == 0, photo.pixels, pixels.cpu())


def has_place(photo: Photo) -> bool:
    """Return whether a photo's metadata say where it was taken (GPS)."""
    return exif_has_place(photo.exif) or xmp_has_place(photo.xmp)
