"""Whole jobs of purification: photos in, purified photos, a record and a contact sheet out."""

from __future__ import annotations

import shutil
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cloakwork import registry, specs
from cloakwork.environment import surroundings
from cloakwork.errors import UserError, check_arguments
from cloakwork.evaluation.photo_pairs import Original, load_original, originals
from cloakwork.evaluation.run import SEEDING
from cloakwork.evaluation.typed_json import from_json
from cloakwork.files import (
    FOLDER,
    expand_home,
    keep_private,
    read_json,
    read_tensors,
    sha256,
    write_json,
    write_tensors,
)
from cloakwork.metrics import lpips
from cloakwork.perturbation.losses import same_draws
from cloakwork.photos.left_out import left_out
from cloakwork.photos.lost import lost_in
from cloakwork.photos.photo import (
    Photo,
    after_encoding,
    check_quality,
    keep_hidden,
    load_photo,
    loses,
    save_photo,
)
from cloakwork.photos.sets import SAME, find_sets, load_all
from cloakwork.photos.sheets import ROWS, contact_sheet, thumbnail
from cloakwork.photos.tensors import as_float
from cloakwork.state import Progress
from cloakwork.types import Photos
from cloakwork.workflows.locks import locked
from cloakwork.workflows.places import own_files, records_folder, refuse_places
from cloakwork.workflows.purify_job import PurifyJob, PurifyTask, check_sizes, job_of, task_of
from cloakwork.workflows.records import begin_saving, begun_to_save, end_saving
from cloakwork.workflows.shown import Listed, Summary, by_photo, paper_note
from cloakwork.workflows.verdicts import nearer_or_further

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


def purify(
    photos: Path | str,
    out: Path | str,
    *,
    purifiers: specs.Chain = "jpeg",
    clean: Path | str | None = None,
    model: str = "tiny",
    denoiser: str = "tiny",
    seed: int = 0,
    device: str = "auto",
    dtype: str = "float32",
    suffix: str = ".png",
    quality: int | None = None,
    force: bool = False,
    skip_bad: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Listed[Purified]:
    """Run photos of any size through purifiers, one after the other, at the photos' own size.

    Args:
        photos: a folder (subfolders are mirrored), a file or a pattern.
        out: folder for the purified photos; records and sheets go to its `.cloakwork`.
        purifiers: as on the command line, such as "jpeg:quality=75+resize"; or a `specs.Method`; or
            a list of such, and of names with their Configs, where None takes the preset for the
            model. A name may be a module's, such as "my_lab.mine".
        clean: folder of the originals, by the same names; None: those that the records beside the
            photos name.
        model: what purifiers that work in latents use: "tiny", "tiny-b", a folder or a hub id.
        denoiser: what purifiers that diffuse pixels use: "tiny", a folder (diffusers' DDPMPipeline)
            or a hub id.
        seed: with the photos of a set it decides everything random, as in an audit: photos take
            their draws one after the other, in the order of the originals' contents.
        device, dtype: where the model runs and what its arithmetic is autocast to.
        suffix: output format, such as ".png" or ".jpg", or "same": each photo's own, and PNG
            where that cannot be written; `quality` is for JPEG (else 95) and
            WebP (else lossless).
        force: overwrite existing outputs (never originals).
        skip_bad: leave out photos that cannot be read.
        progress: called with a label, photos done and their total.
        settings: fields of the one purifier's Config, such as scale=0.5. `quality` is that of the
            files: for the purifier write "jpeg:quality=75".

    Returns:
        The photos, set by set. What the same job has written before stays as it is.

    Raises:
        UserError: every fault found in the input, before anything is written.
    """
    arguments = check_arguments(purify, locals())
    out = expand_home(out).absolute()
    chosen = specs.purifiers(purifiers, model, denoiser, settings=settings, arguments=arguments)
    check_quality(quality)
    found = find_sets([photos], out, suffix=suffix)
    sets, skipped = load_all(found, skip_bad=skip_bad)
    known = originals(sets, clean)
    protected = {original.file.resolve() for original in known.values()}
    if overwritten := [o for s in sets for o in s.outputs if o.resolve() in protected]:
        raise UserError(
            *[
                f"{o} is an original, which is never overwritten; choose another output folder."
                for o in overwritten
            ]
        )
    job = job_of(chosen, model, denoiser, seed, device, dtype, quality)
    if job.window:
        shapes = {f: load_photo(f).pixels.shape[1:] for s in sets for f in s.files}
        check_sizes(job.window, shapes)
    tasks = [task_of(job, s, records_folder(out, s.name), known) for s in sets]
    refuse_places(f for t in tasks for f in (*t.photos.outputs, *own_files(t.folder)))
    with locked(out, "purify", [o for s in sets for o in s.outputs]) as told:
        rows = _purify_sets(job, tasks, known, out, force, progress)
    notes = [
        *skipped,
        *left_out([photos], out, found),
        *told,
        *_notes(job, purifiers, model, denoiser, suffix),
    ]
    rows[0] = replace(rows[0], notes=[*notes, *rows[0].notes])
    return Listed(rows, _summary(rows, out))


def _purify_sets(
    job: PurifyJob,
    tasks: Sequence[PurifyTask],
    known: dict[Path, Original],
    out: Path,
    force: bool,
    progress: Progress | None,
) -> list[Purified]:
    """Purify what the same job has not purified before.

    Raises:
        UserError: an output that it did not write exists.
    """
    done: list[dict[Path, Purified]] = [{} if force else _done(task) for task in tasks]
    if not force:
        _refuse_overwriting(tasks, done)
    read = [file for task in tasks for file in task.photos.files]
    keep_private(out / FOLDER, [*read, *(original.file for original in known.values())])
    total, rows = sum(len(task.order) for task in tasks), []
    for task, before in zip(tasks, done, strict=True):
        tell = partial(_tell, progress, len(rows), total)
        rows += _purify_set(job, task, known, before, tell)
    return rows


def _refuse_overwriting(tasks: Sequence[PurifyTask], done: Sequence[dict[Path, Purified]]) -> None:
    """Refuse to overwrite outputs, but those that the very same job wrote, stopped or not."""
    existing = []
    for task, before in zip(tasks, done, strict=True):
        outputs = task.photos.outputs
        own = {*before, *begun_to_save(task.folder, task.key, outputs)}
        existing += [output for output in outputs if output not in own and output.exists()]
    if existing:
        raise UserError(
            *[
                f"{o} exists already; give --force to overwrite it, or another output folder."
                for o in existing
            ]
        )


def _notes(
    job: PurifyJob, given: specs.Chain, model: str, denoiser: str, suffix: str
) -> Iterator[str]:
    """Yield what may have been meant otherwise."""
    for method in () if isinstance(given, str) else job.purifiers:
        models = registry.model_names(method.name, model, denoiser)
        yield from paper_note(method, models)
    for method in job.purifiers:
        if (
            job.quality is not None
            and suffix != SAME
            and not loses(Path(f"x{suffix}"), job.quality)
            and hasattr(method.config, "quality")
        ):
            yield (
                f"quality={job.quality} is that of the output files, and {suffix} has none. "
                f"For the purifier write {method.name}:quality={job.quality}."
            )


def _summary(rows: Sequence[Purified], out: Path) -> Summary:
    """Return what is shown of purified photos."""
    count = f"{len(rows)} photo{'s' * (len(rows) != 1)}"
    known = [(r.lpips_before, r.lpips_after) for r in rows if r.lpips_after is not None]
    means = [sum(values) / len(known) for values in zip(*known, strict=True)]
    near = (
        f"LPIPS to the originals {means[0]:.3f} before, {means[1]:.3f} after"
        if means
        else "their originals are not known"
    )
    distances = ("lpips_before", "lpips_after", "lpips_clean")
    columns = ("name", "width", "height", *distances, "output", "original")
    table = [{column: getattr(row, column) for column in columns} for row in rows]
    notes = dict.fromkeys([*verdict(rows), *(note for row in rows for note in row.notes)])
    return Summary(f"{count} purified: {near}. Folder: {out}", table, list(notes))


def verdict(rows: Sequence[Purified]) -> list[str]:
    """Return in sentences how near purified photos are to their originals, as far as is known."""
    return nearer_or_further(
        [
            (row.lpips_before, row.lpips_after, row.lpips_clean)
            for row in rows
            if row.lpips_before is not None and row.lpips_after is not None
        ]
    )


def _tell(progress: Progress | None, before: int, total: int, done: int) -> None:
    """Report photos done, over all photo sets."""
    if progress:
        progress("purified", before + done, total)


def _purify_set(
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
        shown = [*([original] if original else []), photo, load_photo(output)]
        count = min(count, len(shown))
        if output in outputs[:ROWS]:
            stages[output] = [thumbnail(stage.pixels) for stage in shown]
        tell(place + 1)
    titles = ("original", "as given", "purified")[-count:]
    columns: dict[str, Photos] = {
        title: [stages[o][i] for o in outputs[:ROWS]]
        for i, title in zip(range(-count, 0), titles, strict=True)
    }
    sheet = task.folder / "sheet.png"
    contact_sheet([rows[o].name for o in outputs[:ROWS]], columns, GAIN, sheet)
    if fresh := {row.name: round(row.seconds, 2) for row in rows.values() if row.seconds}:
        write_json(task.folder / "timings.json", {"seconds": fresh})
    end_saving(task.folder)
    shutil.rmtree(task.draws(0).parent, ignore_errors=True)
    return [rows[o] for o in outputs]


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
        pixels = keep_hidden(job.purify(photo, rngs), photo)
    save_photo(pixels, photo, output, quality=job.quality, force=True)
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

    The original goes through the same purifiers, by the photo's draws.

    Distances that the row has already stay as they are.
    """
    if original is None or row.original == original.path:
        return row
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        pixels = keep_hidden(job.purify(original, draws), original)
    clean = replace(original, pixels=after_encoding(pixels, original, row.output, job.quality))
    before, after, own = (_apart(x, original) for x in (photo, load_photo(row.output), clean))
    return replace(
        row, original=original.path, lpips_before=before, lpips_after=after, lpips_clean=own
    )


def _apart(photo: Photo, original: Photo) -> float:
    """Return the LPIPS distance of a photo and its original."""
    return lpips.score(
        [as_float(photo.pixels)], [as_float(original.pixels)], None, lpips.Config()
    ).item()


def _done(task: PurifyTask) -> dict[Path, Purified]:
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
