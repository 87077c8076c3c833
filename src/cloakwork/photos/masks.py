"""Masks, which are white where a photo may change: be protected, or be painted anew."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.photos.photo import Photo, load_photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.recognition import is_photo
from cloakwork.photos.tensors import as_float
from cloakwork.types import Images, Photos

COLOURED = 48  # between the channels of a pixel, of 255; noise and JPEG make less of a grey one
GREY = (64, 192)  # neither black nor white, of 255
FEW = 0.05  # share of pixels that may be so in a mask


def load_masks(source: Path, photos: Sequence[Path]) -> Photos:
    """Load one mask for each photo file.

    What is transparent counts as black, grey is cut at one half.

    Args:
        source: a file, which is the mask of every photo, or a folder with a file of the same name
            (any ending) for each.
        photos: the photos' files.

    Returns:
        Masks, each 1 x H x W in {0, 1}, upright and as large as its photo.

    Raises:
        UserError: every mask that is missing, there twice, not readable, of another size than its
            photo, a photo with a hole in it, coloured, or without white.
    """
    faults, masks = [], []
    for photo in photos:
        try:
            masks.append(_load(_find(source, photo), photo))
        except UserError as error:
            faults += error.sentences
    if faults:
        raise UserError(*dict.fromkeys(faults))
    return masks


class Masks(Protocol):
    """Where photos may change."""

    def of(self, photo: Path) -> Tensor:
        """Return a photo's mask, 1 x H x W in {0, 1}, upright and as large as the photo.

        Raises:
            UserError: there is none.
        """
        ...

    def __str__(self) -> str:
        """Return what records call them."""
        ...


@dataclass(frozen=True)
class Drawn:
    """Masks from files."""

    source: Path
    """as of `load_masks`"""

    def of(self, photo: Path) -> Tensor:
        """Load a photo's mask; see `load_masks`."""
        return load_masks(self.source, [photo])[0]

    def __str__(self) -> str:
        return str(self.source.absolute())


def mask_digests(masks: Masks, photos: Sequence[Path]) -> dict[Path, str]:
    """Return a hash of each photo's mask by the photo's file, holding no more than one mask.

    Raises:
        UserError: a photo has none; one sentence a fault.
    """
    faults, found = [], {}
    for photo in photos:
        try:
            mask = masks.of(photo)
            bits = np.packbits(mask.bool().numpy()).tobytes()
            found[photo] = hashlib.sha256(f"{mask.shape} ".encode() + bits).hexdigest()
        except UserError as error:
            faults += error.sentences
    if faults:
        raise UserError(*dict.fromkeys(faults))
    return found


def shrink(mask: Tensor, like: Tensor) -> Tensor:
    """Return a mask (1 x H x W in {0, 1}) for a copy of its photo, of the copy's size.

    >>> shrink(torch.tensor([[[0.0, 0, 0, 1]]]), torch.zeros(3, 1, 2)).tolist()
    [[[0.0, 1.0]]]
    """
    return (F.adaptive_avg_pool2d(mask, (like.shape[-2], like.shape[-1])) >= 0.5).to(mask)


def _find(source: Path, photo: Path) -> Path:
    """Return the file of a photo's mask; see `load_masks`."""
    if not source.is_dir():
        return source
    masks = sorted(p for p in source.iterdir() if p.stem == photo.stem and is_photo(p))
    if len(masks) == 1:
        return masks[0]
    if masks:
        raise UserError(
            f"{photo} has several masks: {', '.join(map(str, masks))}; leave one of them."
        )
    raise UserError(
        f"{photo} has no mask in {source}; "
        f"put one there named {photo.stem}.png, white where the photo may change."
    )


def _load(path: Path, photo: Path) -> Tensor:
    loaded, size = load_photo(path), load_photo(photo).pixels.shape
    if loaded.pixels.shape != size:
        raise UserError(
            f"The mask {path} is {_size(loaded.pixels)} pixels where its photo {photo} is "
            f"{size[2]} x {size[1]}; make it as large as the photo."
        )
    _check_drawing(loaded, path)
    light = as_float(loaded.pixels).mean(0, keepdim=True)
    if loaded.alpha is not None:
        light = light * as_float(loaded.alpha)
    mask = (light > 0.5).float()
    if not mask.any():
        raise UserError(
            f"The mask {path} has no white in it, so nothing would change; "
            "paint white where the photo may change."
        )
    return mask


def _check_drawing(mask: Photo, path: Path) -> None:
    """Refuse a picture that was not drawn as a mask: its white would be no mark."""
    opaque = torch.ones_like(mask.pixels[0]) if mask.alpha is None else mask.alpha > 127
    seen = mask.pixels[:, opaque.bool()].float()  # 3 x pixels
    light, spread = seen.mean(0), seen.amax(0) - seen.amin(0)
    coloured = (spread > COLOURED).float().mean() > FEW
    grey = ((light > GREY[0]) & (light < GREY[1])).float().mean() > FEW
    if not opaque.all() and (coloured or grey):
        raise UserError(
            f"The mask {path} is a photo with a transparent part; a mask is white where the photo "
            "may change and black elsewhere. Fill the transparent part with white and the rest "
            "with black."
        )
    if coloured:
        raise UserError(
            f"The mask {path} is a coloured picture; a mask is white where the photo may change "
            "and black elsewhere."
        )


def preprocess_masks(masks: Photos | None, photos: Photos, size: int, centre: float) -> Images:
    """Cut and resize masks like their photos.

    Args:
        masks: each 1 x H x W, of its photo's size; None: a centred square.
        photos: each 3 x H x W.
        size: of the model's pictures, pixels.
        centre: side of the centred square, share of `size`.

    Returns:
        The masks as a model sees them, n x 1 x size x size in {0, 1}.

    Raises:
        UserError: another number of masks than of photos, other sizes, no white where the model
            looks, or no such share.

    >>> preprocess_masks(None, [torch.zeros(3, 8, 8)], size=4, centre=0.5)[0, 0].tolist()
    [[0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]]
    """
    if masks is None:
        return _square(size, centre).repeat(len(photos), 1, 1, 1)
    if len(masks) != len(photos):
        raise UserError(
            f"There are {len(masks)} masks for {len(photos)} photos; give one mask for each photo."
        )
    faults = [
        f"Mask {i} is {_size(m)} pixels where its photo is {_size(p)}; "
        "make it as large as the photo."
        for i, (m, p) in enumerate(zip(masks, photos, strict=True), 1)
        if m.shape[-2:] != p.shape[-2:]
    ]
    if faults:
        raise UserError(*faults)
    seen = (preprocess(masks, size) > 0.5).float()
    faults = [
        f"Mask {i} has no white in the centre square of its photo, "
        "which is all that the model sees; paint white there."
        for i, m in enumerate(seen, 1)
        if not m.any()
    ]
    if faults:
        raise UserError(*faults)
    return seen


def masks_to_latents(m: Images, scale: int) -> Tensor:
    """Shrink masks (n x 1 x S x S in {0, 1}) to the size of latents.

    Returns:
        n x 1 x S/scale x S/scale: 1 where any pixel of the latent's is 1.

    >>> masks_to_latents(torch.tensor([[[[0.0, 0, 0, 1], [0, 0, 0, 0]]]]), 2).tolist()
    [[[[0.0, 1.0]]]]
    """
    return F.max_pool2d(m, scale)


def _square(size: int, share: float) -> Tensor:
    if not 0 < share <= 1:
        raise UserError(
            f"The centred mask's side is {share:g} of the picture's; "
            "more than 0 and at most 1 is allowed."
        )
    side = max(1, round(size * share))
    top = (size - side) // 2
    mask = torch.zeros(1, 1, size, size)
    mask[..., top : top + side, top : top + side] = 1
    return mask


def _size(x: Tensor) -> str:
    return f"{x.shape[-1]} x {x.shape[-2]}"
