"""Sheets of pictures: before and after, an attack's, a training's grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cloakwork.files import atomic_write
from cloakwork.photos.tensors import floats, side_by_side, to_pil
from cloakwork.types import Photos

COLUMNS = 8  # pictures side by side on a sheet
ROWS = 24  # photos on a contact sheet
THUMBNAIL = 256  # pixels


def attack_sheet(pictures: Tensor, prompts: Sequence[str], path: Path) -> None:
    """Write a PNG of pictures, each prompt above those that were drawn for it.

    Args:
        pictures: n x 3 x H x W in [0, 1], in the prompts' order, as many for each.
        prompts: the texts.
        path: of the PNG.
    """
    head = 24
    each = len(pictures) // len(prompts)
    grids = [side_by_side(of_prompt, COLUMNS) for of_prompt in pictures.split(each)]
    sheet = Image.new("RGB", (grids[0].width, sum(head + grid.height for grid in grids)), "white")
    draw, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(14), 0
    for prompt, grid in zip(prompts, grids, strict=True):
        draw.text((8, top + 3), prompt, "black", font)
        sheet.paste(grid, (0, top + head))
        top += head + grid.height
    with atomic_write(path) as part:
        sheet.save(part, "PNG")


def write_grid(path: Path, pictures: Tensor, columns: int) -> None:
    """Write pictures as of `tensors.side_by_side` to a PNG that appears whole or not at all."""
    with atomic_write(path) as part:
        side_by_side(pictures, columns).save(part, "PNG")


def contact_sheet(
    names: Sequence[str],
    columns: Mapping[str, Photos],
    gain: float,
    path: Path,
    *,
    compared: tuple[str, str] | None = None,
    further: Mapping[str, Photos] | None = None,
) -> None:
    """Write a PNG with a row for each photo: the columns, the amplified difference, further ones.

    The difference is what one column has and another has not, around mid-grey.

    Args:
        names: of the photos.
        columns: title -> photos, each 3 x H x W in [0, 1], already thumbnails (see `thumbnail`).
        gain: how far the difference is amplified; 127.5 / budget fills the range.
        path: of the PNG.
        compared: titles of these two; None: the last and the first.
        further: title -> pictures that stand right of the difference.
    """
    cell, head, pad = THUMBNAIL + 12, 34, 12
    after, before = compared or (list(columns)[-1], next(iter(columns)))
    pairs = zip(columns[after], columns[before], strict=True)
    change = [amplified(a, b, gain) for a, b in pairs]
    shown = {**columns, f"{after} - {before}, x {gain:.0f}": change, **(further or {})}
    rows = list(zip(names, *shown.values(), strict=True))[:ROWS]
    sheet = Image.new("RGB", (len(shown) * cell + pad, head + len(rows) * (cell + 18)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, title in enumerate(shown):
        draw.text((pad + column * cell, 10), title, "black", font)
    for row, (name, *pictures) in enumerate(rows):
        top = head + row * (cell + 18)
        for column, picture in enumerate(pictures):
            sheet.paste(to_pil(picture), (pad + column * cell, top))
        draw.text((pad, top + pictures[0].shape[-2] + 1), name, "black", font)
    with atomic_write(path) as part:
        sheet.save(part, "PNG")


def gain_for(budget: float) -> float:
    """Compute the gain with which a change of the budget (1/255) fills the range.

    >>> gain_for(8.5)
    15.0
    """
    return 127.5 / max(budget, 1)


def amplified(after: Tensor, before: Tensor, gain: float) -> Tensor:
    """Compute the amplified difference of two pictures around mid-grey, cut to [0, 1].

    >>> import torch
    >>> before, after = torch.tensor([0.5, 0.5, 0.25]), torch.tensor([0.5, 0.625, 0.75])
    >>> amplified(after, before, gain=2).tolist()
    [0.5, 0.75, 1.0]
    """
    return ((after - before) * gain + 0.5).clamp(0, 1)


def heat(values: Tensor) -> Tensor:
    """Colour values in [0, 1], 1 x H x W, from black over red and yellow to white, 3 x H x W.

    >>> import torch
    >>> heat(torch.tensor([[[0.0, 1 / 3, 2 / 3, 1.0]]]))[:, 0].T.round().tolist()
    [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    """
    return torch.cat([3 * values, 3 * values - 1, 3 * values - 2]).clamp(0, 1)


def thumbnail(photo: Tensor) -> Tensor:
    """Cut the middle of a photo, at most THUMBNAIL pixels a side.

    It is not shrunk more than fourfold first, so that a pattern stays visible.

    Args:
        photo: 3 x H x W, floats in [0, 1] or uint8.

    Returns:
        3 x h x w in [0, 1].

    >>> import torch
    >>> thumbnail(torch.zeros(3, 300, 600)).shape
    torch.Size([3, 128, 256])
    """
    return torch.cat([_middle(colour) for colour in photo.split(1)])  # floats of one at a time


def _middle(colour: Tensor) -> Tensor:
    """Cut the middle of one colour, 1 x H x W; see `thumbnail`."""
    x = floats(colour)
    height, width = x.shape[-2:]
    scale = min(1.0, max(0.25, THUMBNAIL / max(height, width)))
    if scale < 1:
        size = (round(height * scale), round(width * scale))
        x = F.interpolate(x[None], size, mode="bilinear", antialias=True)[0]
    height, width = x.shape[-2:]
    top, left = max(0, (height - THUMBNAIL) // 2), max(0, (width - THUMBNAIL) // 2)
    return x[..., top : top + THUMBNAIL, left : left + THUMBNAIL].clamp(0, 1)
