"""Sheets of pictures: before and after, an attack's, a training's grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cloakwork.files import atomic_write
from cloakwork.photos.tensors import side_by_side, to_pil
from cloakwork.types import Photos


def attack_sheet(pictures: Tensor, prompts: Sequence[str], path: Path) -> None:
    """A PNG of n x 3 x H x W pictures, each prompt above those that it gave."""
    grids, head = (
        [side_by_side(got, COLUMNS) for got in pictures.split(len(pictures) // len(prompts))],
        24,
    )
    sheet = Image.new("RGB", (grids[0].width, sum(head + grid.height for grid in grids)), "white")
    draw, font, top = ImageDraw.Draw(sheet), ImageFont.load_default(14), 0
    for prompt, grid in zip(prompts, grids, strict=True):
        draw.text((8, top + 3), prompt, "black", font)
        sheet.paste(grid, (0, top + head))
        top += head + grid.height
    with atomic_write(path) as part:
        sheet.save(part, "PNG")


COLUMNS = 8  # pictures side by side on a sheet


def write_grid(path: Path, pictures: Tensor, columns: int) -> None:
    """Pictures as in `images.side_by_side`, in a PNG that appears whole or not at all."""
    with atomic_write(path) as part:
        side_by_side(pictures, columns).save(part, "PNG")


THUMBNAIL = 256  # pixels


ROWS = 24  # photos on a contact sheet


def contact_sheet(
    names: Sequence[str], columns: Mapping[str, Photos], gain: float, path: Path
) -> None:
    """A PNG with a row for each photo: the columns, then what the last has that the first has not,
    around mid-grey, amplified.

    Args:
        names: of the photos.
        columns: title -> photos, each 3 x H x W in [0, 1], already thumbnails (see `thumbnail`).
        gain: how far the difference is amplified; 127.5 / budget fills the range.
        path: of the PNG.
    """
    cell, head, pad = THUMBNAIL + 12, 34, 12
    rows = list(zip(names, *columns.values(), strict=True))[:ROWS]
    sheet = Image.new(
        "RGB", ((len(columns) + 1) * cell + pad, head + len(rows) * (cell + 18)), "white"
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    titles = list(columns)
    for column, title in enumerate((*titles, f"{titles[-1]} - {titles[0]}, x {gain:.0f}")):
        draw.text((pad + column * cell, 10), title, "black", font)
    for row, (name, *pictures) in enumerate(rows):
        top = head + row * (cell + 18)
        for column, picture in enumerate((*pictures, amplified(pictures[-1], pictures[0], gain))):
            sheet.paste(to_pil(picture), (pad + column * cell, top))
        draw.text((pad, top + pictures[0].shape[-2] + 1), name, "black", font)
    with atomic_write(path) as part:
        sheet.save(part, "PNG")


def before_and_after(
    names: Sequence[str], originals: Photos, protected: Photos, budget: float, path: Path
) -> None:
    """The contact sheet of protected photos."""
    contact_sheet(names, {"original": originals, "protected": protected}, gain_for(budget), path)


def gain_for(budget: float) -> float:
    """How far a change has to be amplified so that the budget (1/255) fills the range."""
    return 127.5 / max(budget, 1)


def amplified(after: Tensor, before: Tensor, gain: float) -> Tensor:
    """What was changed, around mid-grey."""
    return ((after - before) * gain + 0.5).clamp(0, 1)


def thumbnail(photo: Tensor) -> Tensor:
    """The middle of a photo at THUMBNAIL px or less, cut and not shrunk more than fourfold, so that
    a pattern stays visible.
    """
    height, width = photo.shape[-2:]
    scale = min(1.0, max(0.25, THUMBNAIL / max(height, width)))
    if scale < 1:
        size = (round(height * scale), round(width * scale))
        photo = torch.nn.functional.interpolate(photo[None], size, mode="bilinear", antialias=True)[
            0
        ]
    height, width = photo.shape[-2:]
    top, left = max(0, (height - THUMBNAIL) // 2), max(0, (width - THUMBNAIL) // 2)
    return photo[..., top : top + THUMBNAIL, left : left + THUMBNAIL].clamp(0, 1)
