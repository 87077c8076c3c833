"""Whole jobs of purification: photos in, purified photos, a record and a contact sheet out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cloakwork import registry, specs
from cloakwork.errors import UserError, check_arguments
from cloakwork.evaluation.photo_pairs import originals
from cloakwork.evaluation.recorded_originals import Original
from cloakwork.files import FOLDER, expand_home, keep_private
from cloakwork.photos.left_out import left_out
from cloakwork.photos.photo import load_photo
from cloakwork.photos.saving import check_quality, loses
from cloakwork.photos.sets import SAME, PhotoSet, find_sets, load_all
from cloakwork.state import Progress
from cloakwork.workflows.locks import locked
from cloakwork.workflows.places import own_files, records_folder, refuse_places
from cloakwork.workflows.purify_job import PurifyJob, PurifyTask, check_sizes, job_of, task_of
from cloakwork.workflows.purify_set import Purified, done_before, purify_set
from cloakwork.workflows.records import begun_to_save
from cloakwork.workflows.shown import Listed, Summary, paper_note
from cloakwork.workflows.verdicts import nearer_or_further


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
        model: what purifiers that work in latents use: "tiny", "tiny-b", a folder, a hub id or
            a single file (`names.parse`).
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
    _refuse_originals(sets, known)
    job = job_of(chosen, model, denoiser, seed, device, dtype, quality)
    if job.window:
        shapes = {f: load_photo(f).pixels.shape[1:] for s in sets for f in s.files}
        check_sizes(job.window, shapes)
    tasks = [task_of(job, s, records_folder(out, s.name), known) for s in sets]
    refuse_places(f for t in tasks for f in (*t.photos.outputs, *own_files(t.folder)))
    with locked(out, "purify", [o for s in sets for o in s.outputs]) as told:
        rows = _purify_sets(job, tasks, known, out, force, progress)
    rest = left_out([photos], out, found)
    notes = [*skipped, *rest, *told, *_notes(job, purifiers, model, denoiser, suffix)]
    rows[0] = replace(rows[0], notes=[*notes, *rows[0].notes])
    return Listed(rows, _summary(rows, out))


def _refuse_originals(sets: Sequence[PhotoSet], known: dict[Path, Original]) -> None:
    """Refuse outputs that would take the place of originals."""
    files = {original.file.resolve() for original in known.values()}
    if overwritten := [o for s in sets for o in s.outputs if o.resolve() in files]:
        raise UserError(
            *[
                f"{o} is an original, which is never overwritten; choose another output folder."
                for o in overwritten
            ]
        )


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
    done: list[dict[Path, Purified]] = [{} if force else done_before(task) for task in tasks]
    if not force:
        _refuse_overwriting(tasks, done)
    read = [file for task in tasks for file in task.photos.files]
    keep_private(out / FOLDER, [*read, *(original.file for original in known.values())])
    total, rows = sum(len(task.order) for task in tasks), []
    for task, before in zip(tasks, done, strict=True):
        tell = partial(_tell, progress, len(rows), total)
        rows += purify_set(job, task, known, before, tell)
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
