"""Photos at other sizes, as if they had been taken so: as platforms and purifiers make them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.photos.decoding import MIN_SIDE
from cloakwork.photos.exif import exif_of_size
from cloakwork.photos.photo import Photo, load_photo
from cloakwork.photos.tensors import pixels_of_pil


def load_narrow(path: Path | str, width: int | None = None) -> Photo:
    """Load a photo as `load_photo` does; one wider than `width` pixels is made that wide.

    Its digest stays that of the file's own picture.

    Raises:
        UserError: as of `load_photo`, or the photo would become too low.
    """
    photo = load_photo(path)
    return photo if width is None else narrowed(photo, width)


def narrowed(photo: Photo, width: int) -> Photo:
    """Return a photo at most this many pixels wide, by Lanczos; none is enlarged.

    Raises:
        UserError: it would become lower than photos may be.
    """
    high, wide = photo.pixels.shape[-2:]
    if wide <= width:
        return photo
    height = height_at(width, high, wide)
    if height < MIN_SIDE:
        raise UserError(
            f"{photo.path} is {wide} x {high}; made {width} pixels wide it would be {height} high, "
            f"where {MIN_SIDE} are needed. Cut it, or choose another width."
        )
    return _resized(photo, height, width)


def height_at(width: int, high: int, wide: int) -> int:
    """Return how high a photo of high x wide pixels becomes at another width.

    >>> height_at(1080, 3000, 4000)
    810
    """
    return max(1, round(high * width / wide))


def as_narrow_as(original: Photo, photo: Photo) -> Photo | None:
    """Return an original at the size of a photo that was made of it.

    Returns:
        None where the photo is neither of its size nor the same made narrower.
    """
    (high, wide), size = original.pixels.shape[-2:], photo.pixels.shape[-2:]
    narrower = size[1] < wide and size[0] == height_at(size[1], high, wide)
    if narrower:
        return at_size(original, photo.pixels)
    return original if size == (high, wide) else None


def check_width(width: int | None) -> None:
    """Refuse a width that photos cannot be made; None is none that was asked for.

    Raises:
        UserError: the width is too small.
    """
    if width is not None and width < MIN_SIDE:
        raise UserError(
            f"The width {width} is out of range; allowed are {MIN_SIDE} pixels or more, and 1080 "
            "is what many platforms show."
        )


def at_size(photo: Photo, pixels: Tensor) -> Photo:
    """Return a photo at the size of others, by Lanczos.

    Args:
        photo: of any size.
        pixels: 3 x h x w, of the size that is wanted; what they show does not matter.
    """
    height, width = pixels.shape[-2:]
    same = photo.pixels.shape[-2:] == (height, width)
    return photo if same else _resized(photo, height, width)


def _resized(photo: Photo, height: int, width: int) -> Photo:
    def resized(image: Image.Image) -> Image.Image:
        return image.resize((width, height), Image.Resampling.LANCZOS)

    colours = pixels_of_pil(resized(Image.fromarray(photo.pixels.permute(1, 2, 0).numpy())))
    exif = exif_of_size(photo.exif, width, height)
    if photo.alpha is None:
        return replace(photo, pixels=colours, exif=exif)
    alpha = torch.from_numpy(np.array(resized(Image.fromarray(photo.alpha.numpy()))))
    return replace(photo, pixels=colours, alpha=alpha, exif=exif)
