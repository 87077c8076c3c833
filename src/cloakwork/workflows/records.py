"""What is written beside protected photos: the record, the timings, the contact sheet."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloakwork.files import FOLDER, read_json, remove, sha256, write_json
from cloakwork.workflows.shown import Summary

SAVING = "saving.json"  # beside the record, while outputs are written


@dataclass(frozen=True)
class PhotoRecord:
    """One protected photo: where it came from, where it is, and what it cost its looks."""

    name: str
    """of the original; with its folder where the photos of several are one set"""
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

    def __repr__(self) -> str:
        count = f"{len(self.photos)} photo{'s' * (len(self.photos) != 1)}"
        name = f" {self.name}" if self.name else ""
        return f"<photo set{name}: {count} protected by {self.protection}, in {self.out}>"


def summary(records: Sequence[SetRecord]) -> Summary:
    """Return what is shown of protected photo sets."""
    photos = [photo for record in records for photo in record.photos]
    first, count = records[0], f"{len(photos)} photo{'s' * (len(photos) != 1)}"
    sets = f" in {len(records)} sets" if len(records) > 1 else ""
    against = f"against {', '.join(first.surrogates)}" if first.surrogates else "against no model"
    looks = (
        f"largest change {max(p.budget_used for p in photos):g} of 255, "
        f"PSNR {min(p.psnr for p in photos):.1f} dB or more"
    )
    head = f"{count}{sets} protected by {first.protection} {against}: {looks}. Folder: {first.out}"
    columns = ("width", "height", "budget_used", "psnr", "ssim", "output", "original")
    rows = [
        {"set": record.name, "photo": photo.name} | {c: getattr(photo, c) for c in columns}
        for record in records
        for photo in record.photos
    ]
    return Summary(head, rows, list(dict.fromkeys(n for r in records for n in r.notes)))


def result_json(result: SetRecord) -> dict[str, Any]:
    """Return the fields of a result that the record holds."""
    return {k: v for k, v in asdict(result).items() if k not in ("seconds", "fresh")}


def read_result(folder: Path, key: str) -> SetRecord | None:
    """Return what an earlier run of the same job left in `folder`.

    Returns:
        None where there is none, or one of its photos has changed since.
    """
    path = folder / "record.json"
    record = read_json(path)
    if record.get("key") != key:
        return None
    photos = [
        PhotoRecord(
            **p
            | {
                "original": Path(p["original"]),
                "output": Path(p["output"]),
                "psnr": p["psnr"] or math.inf,
            }
        )
        for p in record["photos"]
    ]
    if not all(p.output.is_file() and sha256(p.output) == p.sha256 for p in photos):
        return None
    return SetRecord(
        record["name"],
        Path(record["out"]),
        record["protection"],
        record["surrogates"],
        sorted(photos, key=lambda photo: photo.output),  # older records have another order
        folder / "sheet.png",
        path,
        record["notes"],
        seconds=0.0,
        fresh=False,
    )


def begin_saving(folder: Path, key: str, outputs: Iterable[Path]) -> None:
    """Write down that from now on outputs that exist are a job's own, though it has no record yet.

    Args:
        folder: of the job's record.
        key: of the job.
        outputs: named from there, so that the whole may be moved.
    """
    names = [os.path.relpath(output, folder) for output in outputs]
    write_json(folder / SAVING, {"key": key, "outputs": names})


def begun_to_save(folder: Path, key: str, outputs: Iterable[Path]) -> set[Path]:
    """Return the outputs that the same job had begun to save when it was stopped."""
    saving = read_json(folder / SAVING)
    names = saving.get("outputs") if saving.get("key") == key else None
    named = {n for n in names if isinstance(n, str)} if isinstance(names, list) else set()
    return {output for output in outputs if os.path.relpath(output, folder) in named}


def end_saving(folder: Path) -> None:
    """Remove what `begin_saving` wrote: the job's record is there."""
    remove(folder / SAVING)


def written(out: Path) -> set[Path]:
    """Return the protected photos that a folder's records name and that have not changed since."""
    rows = [
        row
        for path in (out / FOLDER).rglob("record.json")
        for row in read_json(path).get("photos", [])
    ]
    rows = [row for row in rows if {"output", "sha256"} <= row.keys()]  # a record may be damaged
    return {
        path
        for row in rows
        if (path := Path(row["output"])).is_file() and sha256(path) == row["sha256"]
    }
