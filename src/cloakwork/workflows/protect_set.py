"""One photo set protected: its files, its record, its contact sheet."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from cloakwork.environment import peak_memory_mb, surroundings
from cloakwork.evaluation.run import SEEDING, run_protection
from cloakwork.evaluation.sources import as_loaded
from cloakwork.files import write_json
from cloakwork.perturbation import pgd
from cloakwork.photos.photo import Photo
from cloakwork.photos.saving import quality_key
from cloakwork.photos.sheets import ROWS
from cloakwork.photos.sizes import load_narrow
from cloakwork.photos.tensors import as_float
from cloakwork.state import Progress, RunState
from cloakwork.types import Photos
from cloakwork.workflows.protect_job import PhotoSetTask, ProtectJob
from cloakwork.workflows.protect_notes import notes_on, place_note
from cloakwork.workflows.protect_photo import SavedPhoto, save_protected
from cloakwork.workflows.protect_sheet import before_and_after
from cloakwork.workflows.protect_surrogates import against
from cloakwork.workflows.records import SetRecord, begin_saving, result_json
from cloakwork.workflows.shown import by_photo


def protect_set(job: ProtectJob, task: PhotoSetTask, progress: Progress | None) -> SetRecord:
    """Protect one photo set from files to files."""
    begun = time.monotonic()
    state = RunState(
        task.folder / f"state-{job.work_key(task.source, task.masked)[:16]}.safetensors",
        task.name or job.method.name,
        progress,
    )
    saved = sorted(_save_all(job, task, state), key=lambda one: one.record.output)
    sheet = _draw_sheet(job, task, saved)
    result = _result(job, task, saved, sheet, time.monotonic() - begun)
    write_json(
        task.folder / "timings.json",
        {
            "seconds": result.seconds,
            "peak_memory_mb": peak_memory_mb(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    write_json(
        result.record,
        {"key": task.key} | _settings(job) | result_json(result) | {"loss": state.trace},
    )
    # of this run alone: the record is the same as that of one that nothing happened to
    return replace(result, notes=[*state.notes, *result.notes])


def _save_all(job: ProtectJob, task: PhotoSetTask, state: RunState) -> list[SavedPhoto]:
    """Protect the photos of a set and write them, in the order of their contents.

    They are protected together; or one after the other where the method declares SINGLY, so that
    no more than one is held.
    """
    deltas = partial(
        run_protection,
        job.method,
        models=job.surrogates,
        clean=[p.to(job.device) for p in job.clean.photos()] if job.clean else None,
        rng=job.rng(task.source),
        state=state,
    )
    # from where photos are written, outputs that exist are this job's own
    mark = partial(begin_saving, task.folder, task.key, task.outputs)
    if getattr(job.method.module, "SINGLY", False):
        mark()
        return [_protect_alone(job, task, file, output, deltas) for file, output in task.photos]
    kept, copies = _working_copies(job, task)
    masks = [job.mask(file, copy) for file, copy in zip(task.source.files, copies, strict=True)]
    added = deltas(copies, masks=[m for m in masks if m is not None] or None)
    copies.clear()
    mark()
    return [
        save_protected(job, task, photo or load_narrow(file, job.width), output, delta)
        for (file, output), photo, delta in zip(task.photos, kept, added, strict=True)
    ]


def _protect_alone(
    job: ProtectJob,
    task: PhotoSetTask,
    file: Path,
    output: Path,
    deltas: Callable[..., list[Tensor]],
) -> SavedPhoto:
    """Protect one photo from file to file."""
    photo = load_narrow(file, job.width)
    copy = as_loaded(photo.pixels).to(job.device)
    mask = job.mask(file, copy)
    (delta,) = deltas([copy], masks=None if mask is None else [mask])
    return save_protected(job, task, photo, output, delta)


def _working_copies(job: ProtectJob, task: PhotoSetTask) -> tuple[list[Photo | None], Photos]:
    """Take the photos of a set from what was kept when they were checked.

    Returns:
        Each photo, or None where it is larger than its working copy and decoded again to be
            written; and the working copies, each 3 x h x w in [0, 1], on the job's device.
    """
    kept: list[Photo | None] = []
    copies: Photos = []
    for file in task.source.files:
        pixels, photo = task.at_hand.take(file)
        copies.append(as_float(pixels).to(job.device))
        kept.append(photo)
    return kept, copies


def _draw_sheet(job: ProtectJob, task: PhotoSetTask, saved: Sequence[SavedPhoto]) -> Path:
    """Draw the first photos of a set before and after, and return the sheet's file."""
    thumbnails = [one.thumbnails for one in saved if one.thumbnails]
    before, after = (list(column) for column in zip(*thumbnails, strict=True))
    names = [one.record.name for one in saved[:ROWS]]
    sheet = task.folder / "sheet.png"
    before_and_after(names, before, after, job.config.budget, sheet)
    return sheet


def _result(
    job: ProtectJob, task: PhotoSetTask, saved: Sequence[SavedPhoto], sheet: Path, seconds: float
) -> SetRecord:
    """Return what is said of a set whose photos are written."""
    rows = [one.record for one in saved]
    return SetRecord(
        name=task.name,
        out=task.out,
        protection=job.method.name,
        surrogates=[f"{m.name} (weights {m.weights})" for m in job.surrogates],
        against=against(job.surrogates) or getattr(job.method.module, "TRAINED_AGAINST", ""),
        photos=rows,
        sheet=sheet,
        record=task.folder / "record.json",
        notes=[
            *by_photo([(one.record.name, one.notes) for one in saved], len(saved)),
            *notes_on(job, rows),
            *place_note([one.record.name for one in saved], [one.place for one in saved]),
        ],
        seconds=round(seconds, 2),
    )


def _settings(job: ProtectJob) -> dict[str, Any]:
    """Return everything needed to do the same again.

    Timings are kept apart, for they differ every time.
    """
    return {
        "version": job.method.version,
        **({"source": job.method.source} if job.method.source else {}),
        "seeding": SEEDING,
        "config": asdict(job.config),
        "seed": job.seed,
        "models": [
            {
                "name": m.name,
                "weights": m.weights,
                "dtype": str(m.dtype),
                "sample_posterior": m.sample_posterior,
            }
            for m in job.surrogates
        ],
        "clean": [str(path.absolute()) for path in job.clean.files] if job.clean else [],
        **({"mask": str(job.masks)} if job.masks else {}),
        "output": {
            "suffix": job.suffix,
            "quality": job.quality if job.suffix == ".webp" else quality_key((), job.quality)[0],
            "strip_metadata": job.strip_metadata,
            "strip_gps": job.strip_gps,
            **({"width": job.width} if job.width else {}),
            **({"subsampling": "4:2:0"} if job.halved else {}),
        },
        "micro_batch": pgd.MICRO_BATCH,
        "surroundings": surroundings(job.device),
    }
