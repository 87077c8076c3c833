"""What is written beside protected photos: the record, the timings, the contact sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from cloakwork.files import FOLDER, read_json, sha256, whole
from cloakwork.images import to_pil
from cloakwork.types import Photos

THUMBNAIL = 256  # pixels
ROWS = 24  # photos on a contact sheet


@dataclass(frozen=True)
class PhotoRecord:
    """One protected photo: where it came from, where it is, and what it cost its looks."""

    name: str
    original: Path
    digest: str
    """sha256 of the original's pixels"""
    output: Path
    sha256: str
    """of the output file"""
    width: int
    height: int
    budget_used: float
    """largest change found in the saved file, 1/255"""
    psnr: float
    """dB; infinite when nothing changed"""
    ssim: float


@dataclass(frozen=True)
class SetRecord:
    """One protected photo set."""

    name: str
    out: Path
    protection: str
    surrogates: list[str]
    photos: list[PhotoRecord]
    sheet: Path
    record: Path
    notes: list[str]
    seconds: float
    fresh: bool = True
    """False when an earlier run had already done the same"""


def result_json(result: SetRecord) -> dict[str, Any]:
    """A result as it stands in the record; paths as text, numbers as they are."""
    return {k: v for k, v in asdict(result).items() if k not in ("seconds", "fresh")}


def read_result(folder: Path, key: str) -> SetRecord | None:
    """What an earlier run of the very same job left in `folder`, if all its photos are still as they were written."""
    path = folder / "record.json"
    kept = read_json(path)
    if kept.get("key") != key:
        return None
    photos = [
        PhotoRecord(**p | {"original": Path(p["original"]), "output": Path(p["output"]), "psnr": p["psnr"] or math.inf})
        for p in kept["photos"]
    ]
    if not all(p.output.is_file() and sha256(p.output) == p.sha256 for p in photos):
        return None
    return SetRecord(
        kept["name"], Path(kept["out"]), kept["protection"], kept["surrogates"], photos, folder / "sheet.png", path,
        kept["notes"], seconds=0.0, fresh=False,
    )  # fmt: skip


def written(out: Path) -> set[Path]:
    """The protected photos in a folder that the records in it name, and that are still as they were written."""
    rows = [row for path in (out / FOLDER).rglob("record.json") for row in read_json(path).get("photos", [])]
    rows = [row for row in rows if {"output", "sha256"} <= row.keys()]  # a record may be damaged
    return {path for row in rows if (path := Path(row["output"])).is_file() and sha256(path) == row["sha256"]}


def contact_sheet(names: Sequence[str], columns: Mapping[str, Photos], gain: float, path: Path) -> None:
    """A PNG with a row for each photo: the columns, then what the last has that the first has not, around mid-grey, amplified.

    Args:
        names: of the photos.
        columns: title -> photos, each 3 x H x W in [0, 1], already thumbnails (see `thumbnail`).
        gain: how far the difference is amplified; 127.5 / budget fills the range.
        path: of the PNG.
    """
    cell, head, pad = THUMBNAIL + 12, 34, 12
    rows = list(zip(names, *columns.values(), strict=True))[:ROWS]
    sheet = Image.new("RGB", ((len(columns) + 1) * cell + pad, head + len(rows) * (cell + 18)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    titles = list(columns)
    for column, title in enumerate((*titles, f"{titles[-1]} - {titles[0]}, x {gain:.0f}")):
        draw.text((pad + column * cell, 10), title, "black", font)
    for row, (name, *pictures) in enumerate(rows):
        top = head + row * (cell + 18)
        for column, picture in enumerate((*pictures, amplified(pictures[-1], pictures[0], gain))):
            sheet.paste(to_pil(picture), (pad + column * cell, top))
        draw.text((pad, top + pictures[0].shape[-2] + 1), name, "black", font)
    with whole(path) as part:
        sheet.save(part, "PNG")


def before_and_after(names: Sequence[str], originals: Photos, protected: Photos, budget: float, path: Path) -> None:
    """The contact sheet of protected photos."""
    contact_sheet(names, {"original": originals, "protected": protected}, gain_of(budget), path)


def gain_of(budget: float) -> float:
    """How far a change has to be amplified so that the budget (1/255) fills the range."""
    return 127.5 / max(budget, 1)


def amplified(after: Tensor, before: Tensor, gain: float) -> Tensor:
    """What was changed, around mid-grey."""
    return ((after - before) * gain + 0.5).clamp(0, 1)


def thumbnail(photo: Tensor) -> Tensor:
    """The middle of a photo at THUMBNAIL px or less, cut and not shrunk more than fourfold, so that a pattern stays visible."""
    height, width = photo.shape[-2:]
    scale = min(1.0, max(0.25, THUMBNAIL / max(height, width)))
    if scale < 1:
        size = (round(height * scale), round(width * scale))
        photo = torch.nn.functional.interpolate(photo[None], size, mode="bilinear", antialias=True)[0]
    height, width = photo.shape[-2:]
    top, left = max(0, (height - THUMBNAIL) // 2), max(0, (width - THUMBNAIL) // 2)
    return photo[..., top : top + THUMBNAIL, left : left + THUMBNAIL].clamp(0, 1)
