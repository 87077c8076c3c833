"""Pictures as tensors and as Pillow images, and the way of a tensor to its device."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def as_float(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels of any shape into float32 in [0, 1].

    >>> as_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist()
    [0.0, 1.0]
    """
    return pixels.to(torch.float32, copy=True).div_(255)  # one copy: they may be large


def floats(pixels: Tensor) -> Tensor:
    """Return pixels of any shape in [0, 1], be they floats already or uint8.

    >>> floats(torch.tensor([255], dtype=torch.uint8)), floats(torch.tensor([0.5]))
    (tensor([1.]), tensor([0.5000]))
    """
    return as_float(pixels) if pixels.dtype == torch.uint8 else pixels


def to_bytes(pixels: Tensor) -> Tensor:
    """Round floats in [0, 1], of any shape, to uint8: the inverse of `as_float`.

    >>> to_bytes(torch.tensor([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    return pixels.mul(255).round().byte()


def send(x: Tensor, device: torch.device) -> Tensor:
    """Return x on `device`, without waiting for the copy.

    From the CPU to cuda only a copy out of pinned memory is not waited for.

    >>> send(torch.ones(2), torch.device("cpu"))
    tensor([1., 1.])
    """
    if x.device.type == "cpu" and device.type == "cuda":
        x = x.pin_memory()
    return x.to(device, non_blocking=True)


def is_grey(photo: Tensor) -> bool:
    """Return whether the three channels of a photo (3 x H x W) are the same everywhere.

    >>> is_grey(torch.tensor([[[0.1]], [[0.1]], [[0.1]]])), is_grey(torch.rand(3, 4, 4))
    (True, False)
    """
    return photo.ndim == 3 and len(photo) == 3 and bool((photo == photo[:1]).all())


def neutral(change: Tensor) -> Tensor:
    """Return a change of a grey photo, 3 x H x W, as the nearest one that leaves it grey.

    >>> neutral(torch.tensor([[[1.0]], [[2.0]], [[6.0]]])).flatten().tolist()
    [3.0, 3.0, 3.0]
    """
    return change.mean(0, keepdim=True).expand_as(change)


def to_pil(picture: Tensor) -> Image.Image:
    """Turn a picture (3 x H x W in [0, 1]) into an 8-bit Pillow image.

    >>> to_pil(torch.zeros(3, 20, 30)).size
    (30, 20)
    """
    return Image.fromarray(to_bytes(picture).permute(1, 2, 0).cpu().numpy())


def side_by_side(pictures: Tensor, columns: int) -> Image.Image:
    """Join pictures (n x 3 x H x W in [0, 1]) to one Pillow image, `columns` to a row.

    What the last row lacks is white.

    >>> side_by_side(torch.zeros(3, 3, 20, 30), columns=2).size
    (60, 40)
    """
    lacking = -len(pictures) % columns
    pictures = torch.cat([pictures, pictures.new_ones((lacking, *pictures.shape[1:]))])
    rows = [torch.cat(list(row), dim=2) for row in pictures.split(columns)]
    return to_pil(torch.cat(rows, dim=1))


def from_pil(picture: Image.Image) -> Tensor:
    """Turn a Pillow image into 3 x H x W in [0, 1].

    >>> from_pil(Image.new("RGB", (2, 1), "red")).tolist()
    [[[1.0, 1.0]], [[0.0, 0.0]], [[0.0, 0.0]]]
    """
    return as_float(pixels_of_pil(picture))


def lanczos(x: Tensor, height: int, width: int) -> Tensor:
    """Resize a photo (3 x H x W in [0, 1]) by Pillow's Lanczos, at 8 bits, as everybody's scripts
    do; one of that size stays as it is.

    >>> lanczos(torch.ones(3, 4, 6), 2, 3).shape
    torch.Size([3, 2, 3])
    """
    if x.shape[-2:] == (height, width):
        return x
    return from_pil(to_pil(x).resize((width, height), Image.Resampling.LANCZOS)).to(x)


def pixels_of_pil(picture: Image.Image) -> Tensor:
    """Turn a Pillow image into uint8 RGB, 3 x H x W."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
