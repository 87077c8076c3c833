"""Pictures as tensors and as Pillow images."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def as_float(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels of any shape into float32 in [0, 1]."""
    return pixels.float() / 255


def to_pil(picture: Tensor) -> Image.Image:
    """3 x H x W in [0, 1] as an 8-bit Pillow image."""
    return Image.fromarray(picture.mul(255).round().byte().permute(1, 2, 0).cpu().numpy())


def side_by_side(pictures: Tensor, columns: int) -> Image.Image:
    """Pictures (n x 3 x H x W in [0, 1]) as one Pillow image, `columns` to a row; what the last row
    lacks is white.
    """
    lacking = -len(pictures) % columns
    pictures = torch.cat([pictures, pictures.new_ones((lacking, *pictures.shape[1:]))])
    return to_pil(
        torch.cat([torch.cat(list(row), dim=2) for row in pictures.split(columns)], dim=1)
    )


def from_pil(picture: Image.Image) -> Tensor:
    """A Pillow image as 3 x H x W in [0, 1]."""
    return as_float(pixels_of_pil(picture))


def pixels_of_pil(picture: Image.Image) -> Tensor:
    """Turn a Pillow image into uint8 RGB, 3 x H x W."""
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)
