"""One photo set purified: its files, its record, its contact sheet."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cloakwork.environment import surroundings
from cloakwork.evaluation.photo_pairs import load_original
from cloakwork.evaluation.recorded_originals import Original
from cloakwork.evaluation.run import SEEDING
from cloakwork.evaluation.typed_json import from_json
from cloakwork.files import read_json, sha256, write_json
from cloakwork.files.tensors import read_tensors, write_tensors
from cloakwork.metrics import lpips
from cloakwork.perturbation.losses import same_draws
from cloakwork.photos.lost import lost_in
from cloakwork.photos.photo import Photo, keep_hidden, load_photo
from cloakwork.photos.saving import after_encoding, save_photo
from cloakwork.photos.sheets import ROWS, contact_sheet, thumbnail
from cloakwork.photos.sizes import at_size
from cloakwork.photos.tensors import as_float
from cloakwork.types import Photos
from cloakwork.workflows.purify_job import PurifyJob, PurifyTask
from cloakwork.workflows.records import begin_saving, end_saving
from cloakwork.workflows.shown import by_photo

GAIN = 4  # of the contact sheet's differences: what purifiers change is larger than a budget


@dataclass(frozen=True)
class Purified:
    """One photo, and how far it is from its original before and after, where that is known."""

    name: str
    digest: str
    """sha256 of the pixels it was given with"""
    output: Path
    sha256: str
    """of the output file"""
    width: int
    height: int
    original: Path | None
    lpips_before: float | None
    """between the photo as it was given and its original"""
    lpips_after: float | None
    """between the purified photo and the original"""
    notes: list[str]
    """what the purifiers had to say; of the first photo also what was left out, and why"""
    lpips_clean: float | None = None
    """between the original after the same purifiers and the original"""
    seconds: float = 0.0
    """0: an earlier run of the same job had done it"""


def purify_set(
    job: PurifyJob,
    task: PurifyTask,
    known: dict[Path, Original],
    done: dict[Path, Purified],
    tell: Callable[[int], None],
) -> list[Purified]:
    """Purify one photo set; its record grows with every photo, so that a stopped job goes on."""
    rows, stages, rngs = dict(done), {}, job.generators()
    outputs, count = task.photos.outputs, 3  # columns of the sheet
    missing = [place for place, i in enumerate(task.order) if outputs[i] not in done]
    if missing:
        begin_saving(task.folder, task.key, outputs)
    for place, number in enumerate(task.order):
        file, output = task.photos.files[number], outputs[number]
        photo, draws = load_photo(file), [same_draws(rng) for rng in rngs]
        # photos draw one after the other, so those before a missing one have to have drawn
        last = place > max(missing, default=-1)
        if not (output in done and (last or _restore(rngs, task.draws(place)))):
            rows[output] = _purify(job, photo, output, rngs)
            states = {str(k): rng.get_state() for k, rng in enumerate(rngs)}
            write_tensors(task.draws(place), states, checksum=True)
        original = load_original(known.get(file), photo)
        rows[output] = _compared(job, rows[output], photo, original, draws)
        _write_record(job, task, rows)
        made = load_photo(output)
        shown = [*([original] if original else []), photo, made]
        count = min(count, len(shown))
        if output in outputs[:ROWS]:
            stages[output] = [thumbnail(at_size(stage, made.pixels).pixels) for stage in shown]
        tell(place + 1)
    _draw_sheet(task, rows, stages, count)
    if fresh := {row.name: round(row.seconds, 2) for row in rows.values() if row.seconds}:
        write_json(task.folder / "timings.json", {"seconds": fresh})
    end_saving(task.folder)
    shutil.rmtree(task.draws(0).parent, ignore_errors=True)
    return [rows[o] for o in outputs]


def _draw_sheet(
    task: PurifyTask, rows: dict[Path, Purified], stages: dict[Path, Photos], count: int
) -> None:
    """Draw the first photos of a set: the last of their stages, as many as all photos have."""
    shown = task.photos.outputs[:ROWS]
    titles = ("original", "as given", "purified")[-count:]
    columns: dict[str, Photos] = {
        title: [stages[o][i] for o in shown]
        for i, title in zip(range(-count, 0), titles, strict=True)
    }
    contact_sheet([rows[o].name for o in shown], columns, GAIN, task.folder / "sheet.png")


def _write_record(job: PurifyJob, task: PurifyTask, rows: dict[Path, Purified]) -> None:
    """Write what has been purified, but for the timings, which differ every time."""
    listed = [asdict(rows[o]) for o in task.photos.outputs if o in rows]
    listed = [{k: v for k, v in row.items() if k != "seconds"} for row in listed]
    write_json(task.folder / "purified.json", _settings(job, task) | {"photos": listed})


def _restore(rngs: Sequence[torch.Generator], path: Path) -> bool:
    """Set generators to where they were after a photo.

    Returns:
        False, and they stay as they are, where nobody wrote that down, or it is damaged.
    """
    before = [rng.get_state() for rng in rngs]
    states = read_tensors(path) or {}
    try:
        for k, rng in enumerate(rngs):
            rng.set_state(states[str(k)])
    except (KeyError, TypeError, RuntimeError):
        for rng, state in zip(rngs, before, strict=True):
            rng.set_state(state)
        return False
    return True


def _purify(
    job: PurifyJob, photo: Photo, output: Path, rngs: Sequence[torch.Generator]
) -> Purified:
    """Purify one photo from file to file."""
    begun = time.monotonic()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        pixels = job.purify(photo, rngs)
    photo = at_size(photo, pixels)
    save_photo(keep_hidden(pixels, photo), photo, output, quality=job.quality, force=True)
    seconds = time.monotonic() - begun
    said = [str(w.message) for w in caught if w.category is UserWarning]
    return Purified(
        photo.path.name,
        photo.digest,
        output,
        sha256(output),
        photo.pixels.shape[2],
        photo.pixels.shape[1],
        None,
        None,
        None,
        by_photo([(photo.path.name, [*photo.notes, *lost_in(photo, output), *said])]),
        seconds=seconds,
    )


def _compared(
    job: PurifyJob,
    row: Purified,
    photo: Photo,
    original: Photo | None,
    draws: Sequence[torch.Generator],
) -> Purified:
    """Return the row with distances to the original, where that is known.

    The original goes through the same purifiers, by the photo's draws. What came back smaller is
    compared with an original made as small.

    Distances that the row has already stay as they are.
    """
    if original is None or row.original == original.path:
        return row
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        pixels = job.purify(original, draws)
    small = at_size(original, pixels)
    clean = after_encoding(keep_hidden(pixels, small), small, row.output, job.quality)
    before = _apart(photo.pixels, original)
    after, own = (_apart(x, small) for x in (load_photo(row.output).pixels, clean))
    return replace(
        row, original=original.path, lpips_before=before, lpips_after=after, lpips_clean=own
    )


def _apart(pixels: Tensor, original: Photo) -> float:
    """Return the LPIPS distance of a photo (3 x H x W, uint8) and its original."""
    return lpips.score([as_float(pixels)], [as_float(original.pixels)], None, lpips.Config()).item()


def done_before(task: PurifyTask) -> dict[Path, Purified]:
    """Return what the very same job has written already and is still as it was, by output."""
    record = read_json(task.folder / "purified.json")
    listed = record.get("photos") if record.get("key") == task.key else None
    rows = [from_json(Purified, row) for row in listed] if isinstance(listed, list) else []
    return {row.output: row for row in rows if row is not None and _holds(row, task)}


def _holds(row: Purified, task: PurifyTask) -> bool:
    """Return whether a row of a record is whole, of one of the task's photos, and still true."""
    distances = [d is None for d in (row.original, row.lpips_before, row.lpips_after)]
    return (
        task.contents.get(row.output) == row.digest
        and len(set(distances)) == 1
        and row.output.is_file()
        and sha256(row.output) == row.sha256
    )


def _settings(job: PurifyJob, task: PurifyTask) -> dict[str, Any]:
    """Return everything needed to do the same again."""
    return {
        "key": task.key,
        "purifiers": job.methods_used,
        "models": {
            k: {"name": m.name, "weights": m.weights, "dtype": str(m.dtype)}
            for k, m in job.models.items()
        },
        "seed": job.seed,
        "seeding": SEEDING,
        "surroundings": surroundings(job.device),
    }
