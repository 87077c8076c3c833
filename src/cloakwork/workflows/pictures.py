"""Pictures in memory, read as files are: what each holds, and how it is given back as it came."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.evaluation.sources import Source
from cloakwork.photos.decoding import MIN_SIDE
from cloakwork.photos.photo import Photo, digest_of
from cloakwork.photos.tensors import to_bytes

# bfloat16 cannot tell neighbouring levels of 8 bits apart
FLOATS = (torch.float16, torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class Picture:
    """One picture.

    Attributes:
        name: what it is called in sentences.
        pixels: 3 x H x W, uint8, on the CPU.
        alpha: H x W, uint8, or None.
        back: pixels, 3 x H x W, uint8, -> a picture of the kind that was given.
    """

    name: str
    pixels: Tensor
    alpha: Tensor | None
    back: Callable[[Tensor], Any]

    @property
    def photo(self) -> Photo:
        """The picture as if it had been a file's."""
        planes = self.pixels if self.alpha is None else torch.cat([self.pixels, self.alpha[None]])
        digest = digest_of(np.ascontiguousarray(planes.numpy()))
        return Photo(Path(self.name), self.pixels, self.alpha, None, None, None, None, digest)


@dataclass(frozen=True, eq=False)
class Pictures:
    """The pictures that were given.

    Attributes:
        pictures: in the order in which they were given.
        single: whether it was one, not a batch or a list.
        joined: what makes a batch or a list of them again.
    """

    pictures: Sequence[Picture]
    single: bool
    joined: Callable[[list[Any]], Any]
    order: tuple[int, ...]
    """their numbers in the order of their contents, in which photo sets are taken"""
    key: str

    @property
    def sorted(self) -> list[Picture]:
        """The pictures in the order of their contents."""
        return [self.pictures[i] for i in self.order]

    def back(self, pixels: Sequence[Tensor]) -> Any:
        """Return pixels, in the order of `sorted`, as what was given."""
        placed = dict(zip(self.order, pixels, strict=True))
        return self.joined([p.back(placed[i]) for i, p in enumerate(self.pictures)])


def read_pictures(images: Any) -> Pictures:
    """Read what was given, whatever it is.

    Raises:
        UserError: one sentence a picture that is none.
    """
    batch = isinstance(images, np.ndarray | Tensor) and images.ndim == 4
    single = isinstance(images, Image.Image | np.ndarray | Tensor) and not batch
    if not (batch or single or isinstance(images, list | tuple)):
        raise UserError(
            f"Pictures are given as a {type(images).__name__}. Allowed are Pillow images, numpy "
            "arrays (H x W x 3), torch tensors (3 x H x W), and lists of them; for files there "
            "are protect, purify and score."
        )
    whole: Any = images
    listed: list[Any] = [whole] if single else list(whole)
    if not listed:
        raise UserError("No picture was given; give one or more.")
    pictures, faults = [], []
    for i, image in enumerate(listed):
        try:
            pictures.append(_picture("The picture" if single else f"Picture {i}", image))
        except UserError as error:
            faults += error.sentences
    if faults:
        raise UserError(*faults)
    digests = [p.photo.digest for p in pictures]
    order = tuple(sorted(range(len(digests)), key=lambda i: digests[i]))
    key = Source((), tuple(sorted(digests))).key
    joined: Callable[[list[Any]], Any] = list
    if single:
        joined = _first
    elif batch:
        joined = torch.stack if isinstance(images, Tensor) else np.stack
    return Pictures(pictures, single, joined, order, key)


def _first(images: list[Any]) -> Any:
    """Return the first of a list."""
    return images[0]


def _picture(name: str, image: Any) -> Picture:
    """Read one picture.

    Raises:
        UserError: it is none.
    """
    if isinstance(image, Image.Image):
        found = _from_pillow(name, image)
    elif isinstance(image, np.ndarray | Tensor):
        found = _from_array(name, image)
    else:
        raise UserError(
            f"{name} is a {type(image).__name__}; allowed are Pillow images, numpy arrays and "
            "torch tensors."
        )
    height, width = found.pixels.shape[1:]
    if min(height, width) < MIN_SIDE:
        raise UserError(
            f"{name} is {width} x {height} pixels where each side needs at least {MIN_SIDE}; "
            "use a larger one."
        )
    return found


def _from_pillow(name: str, image: Image.Image) -> Picture:
    """Read a Pillow image; what it becomes keeps its transparency, profile and metadata."""
    allowed = "RGBA" if image.has_transparency_data else "RGB"
    if image.mode != allowed:
        raise UserError(
            f"{name} has the mode {image.mode}; allowed are RGB and RGBA. "
            f'Give its .convert("{allowed}").'
        )
    planes = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    alpha = planes[3] if allowed == "RGBA" else None

    def back(pixels: Tensor) -> Image.Image:
        whole = pixels if alpha is None else torch.cat([pixels, alpha[None]])
        made = Image.fromarray(whole.permute(1, 2, 0).contiguous().numpy())
        made.info = dict(image.info)
        return made

    return Picture(name, planes[:3], alpha, back)


def _from_array(name: str, image: np.ndarray | Tensor) -> Picture:
    """Read an array, H x W x 3, or a tensor, 3 x H x W."""
    array = isinstance(image, np.ndarray)
    values = torch.from_numpy(_native(name, image)) if isinstance(image, np.ndarray) else image
    values = values.detach()
    layout, colours = ("H x W x 3", 2) if array else ("3 x H x W", 0)
    if values.ndim != 3 or values.shape[colours] != 3:
        shape = " x ".join(map(str, values.shape)) or "a single number"
        raise UserError(f"{name} is {shape}; allowed is {layout}.")
    if values.dtype not in (torch.uint8, *FLOATS):
        raise UserError(
            f"{name} is of {str(values.dtype).removeprefix('torch.')}; allowed are uint8 and "
            "floats of 16, 32 or 64 bits in [0, 1]."
        )
    floats = values.dtype.is_floating_point
    if floats and not ((values >= 0) & (values <= 1)).all():
        low, high = values.min().item(), values.max().item()
        raise UserError(
            f"{name} has values from {low:g} to {high:g}; allowed are floats in [0, 1]."
        )

    def back(pixels: Tensor) -> Any:
        planes = pixels.permute(1, 2, 0).contiguous() if array else pixels
        made = (planes.double() / 255).to(values.dtype) if floats else planes
        return made.numpy() if array else made.to(values.device)

    pixels = to_bytes(values.cpu().double()) if floats else values.cpu()
    return Picture(name, pixels.permute(2, 0, 1) if array else pixels, None, back)


def _native(name: str, image: np.ndarray) -> np.ndarray:
    """Return an array that torch can hold: a copy, in the machine's order of bytes.

    Raises:
        UserError: it holds no numbers of a kind that pictures have.
    """
    if image.dtype.kind not in "fui" or image.dtype.itemsize > 8:
        raise UserError(
            f"{name} is of {image.dtype}; allowed are uint8 and floats of 16, 32 or 64 bits in "
            "[0, 1]."
        )
    return np.array(image, dtype=image.dtype.newbyteorder("="), order="C")
