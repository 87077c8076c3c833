"""Patterns that were learned once and are tiled over any photo.

FastProtect (arXiv 2412.11423) learns a few perturbations beforehand too, and chooses among them per
photo; here they are tiles, so that photos may have any size. `cloakwork learn-pattern` learns them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.files import ASSETS, hash_files
from cloakwork.files.tensors import save_tensors

TILE = 128  # side of a pattern, pixels
LEVELS = 127  # of a number on file, to either side of 0
WEIGHTS = "model.safetensors"
EMBEDDED = ASSETS / "protector"


def tiled(pattern: Tensor, height: int, width: int, place: tuple[int, int]) -> Tensor:
    """Return a tile repeated over a picture.

    Args:
        pattern: 3 x S x S.
        height, width: of the picture.
        place: row and column of the tile at which the picture's corner lies.

    >>> tiled(torch.arange(3.0).view(1, 1, 3), 2, 5, (0, 1))[0].tolist()
    [[1.0, 2.0, 0.0, 1.0, 2.0], [1.0, 2.0, 0.0, 1.0, 2.0]]
    """
    rows, columns = (
        (torch.arange(n, device=pattern.device) + first) % side
        for n, first, side in zip((height, width), place, pattern.shape[-2:], strict=True)
    )
    return pattern[:, rows][:, :, columns]


def laid_over(
    photo: Tensor, pattern: Tensor, place: tuple[int, int], size: tuple[int, int]
) -> Tensor:
    """Return a tile repeated over a picture as large as a photo made smaller, and enlarged to it.

    Args:
        photo: 3 x H x W.
        pattern, place: as of `tiled`.
        size: height and width of the smaller picture.

    >>> laid_over(torch.zeros(3, 4, 4), torch.ones(3, 2, 2), (0, 0), (2, 2)).shape
    torch.Size([3, 4, 4])
    """
    laid = tiled(pattern, *size, place)
    if size == photo.shape[-2:]:
        return laid
    return F.interpolate(laid[None], photo.shape[-2:], mode="bilinear")[0]


def save(patterns: Tensor, folder: Path) -> None:
    """Write patterns (n x 3 x TILE x TILE within -1 and 1), a byte a number."""
    folder.mkdir(parents=True, exist_ok=True)
    levels = (LEVELS * patterns).round().to(torch.int8).contiguous()
    save_tensors(folder / WEIGHTS, {"patterns": levels})
    load.cache_clear()  # the folder may have held others


@cache
def load(folder: Path, device: torch.device) -> Tensor:
    """Load the patterns, n x 3 x TILE x TILE within -1 and 1.

    Raises:
        UserError: there are none in the folder.
    """
    try:
        levels = load_file(folder / WEIGHTS)["patterns"]
        if levels.shape[1:] != (3, TILE, TILE) or not len(levels):
            raise ValueError(f"tensors of shape {tuple(levels.shape)}")
    except Exception as error:
        raise UserError(
            f"There are no patterns in {folder} ({error}). Give a folder that "
            "`cloakwork learn-pattern` wrote, or leave the setting out."
        ) from None
    return levels.float().div(LEVELS).to(device)


def identity(folder: Path) -> str:
    """Return the hash of a folder's patterns, for keys."""
    return hash_files([folder / WEIGHTS])
