"""What is written beside protected photos: the record, the timings, the contact sheet."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from cloakwork.evaluation.recorded_originals import record_files
from cloakwork.evaluation.typed_json import from_json
from cloakwork.files import read_json, remove, sha256, write_json
from cloakwork.metrics.noticed import word
from cloakwork.workflows.shown import Summary

T = TypeVar("T")

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
    noticed: float | None = None
    """how far the change goes beyond what the eye would notice (metric `noticed`); None in records
    of before"""
    fingerprint: str = ""
    """of the output file's picture (`photos.fingerprint`); "" in records of before"""
    left: float | None = None
    """share of the protection that a lossy file keeps, by the latents' shift; None: lossless"""
    bytes: int = 0
    """size of the output file; 0 in records of before"""

    @property
    def visible(self) -> str:
        """How visible the change is, in a word."""
        return "" if self.noticed is None else word(self.noticed)


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
    against: str = ""
    """the surrogates in words, or what a network was trained against that asks none"""

    @property
    def models(self) -> str:
        """The surrogates in words, or by name where a record of before has no words."""
        return self.against or ", ".join(self.surrogates)

    def __repr__(self) -> str:
        count = f"{len(self.photos)} photo{'s' * (len(self.photos) != 1)}"
        name = f" {self.name}" if self.name else ""
        return f"<photo set{name}: {count} protected by {self.protection}, in {self.out}>"


def summary(records: Sequence[SetRecord]) -> Summary:
    """Return what is shown of protected photo sets."""
    head = f"{in_short(records)} Folder: {records[0].out}"
    columns = (
        *("width", "height", "budget_used", "psnr", "ssim", "visible", "left", "bytes"),
        *("output", "original"),
    )
    rows = [
        {"set": record.name, "photo": photo.name} | {c: getattr(photo, c) for c in columns}
        for record in records
        for photo in record.photos
    ]
    return Summary(head, rows, list(dict.fromkeys(n for r in records for n in r.notes)))


def in_short(records: Sequence[SetRecord]) -> str:
    """Return a sentence on what was done to photo sets, against what, and how much they changed."""
    photos = [photo for record in records for photo in record.photos]
    first, count = records[0], f"{len(photos)} photo{'s' * (len(photos) != 1)}"
    sets = f" in {len(records)} sets" if len(records) > 1 else ""
    against = f"against {first.models}" if first.models else "against no model"
    looks = (
        f"largest change {max(p.budget_used for p in photos):g} of 255, "
        f"PSNR {min(p.psnr for p in photos):.1f} dB or more"
    )
    return f"{count}{sets} protected by {first.protection} {against}: {looks}."


def reach(record: SetRecord) -> str:
    """Return what a protection was computed against, and what that does not mean."""
    if record.models:
        how = "Computed" if record.surrogates else "Trained beforehand"
        return f"{how} against {record.models}. This says nothing about other models."
    return f"{record.protection} is computed against no model. This says nothing about any model."


def result_json(result: SetRecord) -> dict[str, Any]:
    """Return the fields of a result that the record holds."""
    return {k: v for k, v in asdict(result).items() if k not in ("seconds", "fresh")}


def read_result(folder: Path, key: str, contents: Mapping[Path, str]) -> SetRecord | None:
    """Return what an earlier run of the same job left in `folder`.

    Args:
        folder: of the job's record.
        key: of the job.
        contents: output -> the sha256 of its original's pixels, for each photo of the job.

    Returns:
        None where there is none, it is damaged or of other photos, or one of them has changed
        since.
    """
    path = folder / "record.json"
    record = read_json(path)
    known = read_set(path, record) if record.get("key") == key else None
    if known is None or not _same(known.photos, contents):
        return None
    if not all(os.path.isfile(p.output) and sha256(p.output) == p.sha256 for p in known.photos):
        return None
    # older records have another order
    return replace(known, photos=sorted(known.photos, key=lambda photo: photo.output))


def read_set(path: Path, record: Mapping[str, Any]) -> SetRecord | None:
    """Return the photo set that a record is of, in the order of the record.

    Args:
        path: of the record, where it is now.
        record: what it holds.

    Returns:
        None where it is damaged.
    """
    photos = [_with_psnr(photo) for photo in _listed(record)]
    places = {"sheet": str(path.with_name("sheet.png")), "record": str(path)}
    told = {"photos": photos, "seconds": 0.0, "fresh": False}
    return from_json(SetRecord, {**record, **told, **places})


def _listed(record: Mapping[str, Any]) -> list[Any]:
    """Return what a record lists as its photos; nothing where it is damaged."""
    photos = record.get("photos")
    return photos if isinstance(photos, list) else []


def _with_psnr(photo: Any) -> Any:
    """Return a record's photo with the infinite PSNR that JSON cannot hold."""
    unchanged = isinstance(photo, dict) and photo.get("psnr", 0) is None
    return photo | {"psnr": math.inf} if unchanged else photo


def _same(photos: Sequence[PhotoRecord], contents: Mapping[Path, str]) -> bool:
    """Return whether a record's photos are all of a job's, and no others."""
    recorded = {os.path.realpath(photo.output): photo.digest for photo in photos}
    wanted = {os.path.realpath(output): digest for output, digest in contents.items()}
    return recorded == wanted and len(photos) == len(wanted)


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


@dataclass(frozen=True)
class _Output:
    """A photo of a record, as far as it says which file it is."""

    output: Path
    sha256: str


def written(out: Path) -> set[Path]:
    """Return the protected photos that a folder's records name and that have not changed since."""
    rows = [row for _, row in listed_photos(out, _Output)]
    return {r.output for r in rows if os.path.isfile(r.output) and sha256(r.output) == r.sha256}


def listed_photos(out: Path, kind: type[T]) -> Iterator[tuple[dict[str, Any], T]]:
    """Yield the photos that a folder's records list, each with all that its record holds.

    Args:
        out: a folder that `protect` wrote; one without records has none.
        kind: dataclass of what is wanted of a photo; photos that lack it are passed over, for a
            record may be damaged.
    """
    for path in record_files(out):
        record = read_json(path)
        for entry in _listed(record):
            if (photo := from_json(kind, entry)) is not None:
                yield record, photo
