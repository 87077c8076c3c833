"""Whole jobs: photos in, protected photos, a record and a contact sheet out. What the command and
the Python API call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cloakwork import registry, specs
from cloakwork.errors import check_arguments
from cloakwork.files import FOLDER, keep_private
from cloakwork.photos.sidecars import write_copies
from cloakwork.state import Progress
from cloakwork.workflows.before_after import NOT_OURS, write_page
from cloakwork.workflows.effect_notes import effect_notes
from cloakwork.workflows.estimate import expectation
from cloakwork.workflows.forecast import Forecast, telling
from cloakwork.workflows.locks import locked
from cloakwork.workflows.protect_job import PhotoSetTask, ProtectJob, refuse_overwriting
from cloakwork.workflows.protect_method import named_protection
from cloakwork.workflows.protect_plan import ProtectOptions, plan_protection
from cloakwork.workflows.protect_set import protect_set
from cloakwork.workflows.protect_sheet import overview
from cloakwork.workflows.records import SetRecord, end_saving, read_result, summary
from cloakwork.workflows.shown import Listed, paper_note
from cloakwork.workflows.workload import Workloads, protection_parts


def protect(
    photos: Sequence[Path | str] | Path | str,
    out: Path | str,
    *,
    protection: specs.Given = registry.DEFAULT_PROTECTION,
    config: Any = None,
    preset: str | None = None,
    refine: int = 0,
    surrogates: Sequence[str] | str = ("tiny",),
    seed: int = 0,
    clean: Path | str | None = None,
    device: str = "auto",
    dtype: str = "float32",
    sample_posterior: bool = False,
    low_memory: bool = False,
    graphs: bool = False,
    fetch: bool = False,
    each: bool = False,
    one_set: bool = False,
    suffix: str = ".png",
    quality: int | None = None,
    for_width: int | None = None,
    jpeg: int | None = None,
    strip_metadata: bool = False,
    strip_gps: bool = False,
    force: bool = False,
    skip_bad: bool = False,
    sidecars: bool = False,
    mask: Path | str | None = None,
    faces: bool = False,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    **settings: Any,
) -> Listed[SetRecord]:
    """Protect files, folders and globs of photos into the folder `out`.

    README says which photo sets they form.

    Args:
        photos: files, folders, globs.
        out: folder for the protected photos; before-after.html shows them beside the originals, and
            records and sheets go to its `.cloakwork`.
        protection: name of a protection, or an importable module such as "my_lab.mine"; or with its
            settings, as on the command line ("photoguard:tiny:steps=30") or as a `specs.Method`.
        config: the method's Config; None takes the preset.
        preset: name of one of the method's PRESETS; None takes "tiny" on the embedded models and
            "paper" on others. Goes without `config`.
        refine: steps of PID that go on from a protection that asks no surrogate, such as "learned".
        surrogates: models the protection is computed against: "tiny", "tiny-b", folders, hub ids or
            single files (`names.parse`);
            or, for protections that need no denoiser, encoders alone: families by name ("sd3",
            "flux2:full"), "all" that are at hand, folders or hub ids of autoencoders.
        seed: with the photos' contents and the config it decides every byte.
        clean: folder of unprotected photos of the subject that the protector may learn from (set
            A); for one set only.
        device, dtype: where the models run and what their arithmetic is autocast to.
        sample_posterior: encode photos to a sample of the VAE's posterior, as Stable Diffusion's
            training does, not its mean.
        low_memory: compute in less memory, in up to 1.3 times the time; the bytes are the same.
            Without it this is done where memory is short.
        graphs: on cuda, replay passes through networks that do not learn as CUDA graphs.
        fetch: fetch encoders of families from the hub that are not on this machine.
        each: every photo is protected by itself.
        one_set: all photos are protected as one set, such as a person's in several folders.
        suffix: output format, such as ".png" or ".jpg", or "same": each photo's own, and PNG
            where that cannot be written; `quality` is for JPEG (else 95) and
            WebP (else lossless).
        for_width: photos that are wider, in pixels, are made that wide first, as a platform does
            it; none is enlarged, and the budget holds on what comes of it.
        jpeg: write JPEG of this quality, 1 to 100, with colours at half the resolution (4:2:0), as
            platforms do; records tell what it leaves of the protection.
        strip_metadata: leave EXIF, XMP, IPTC and texts out.
        strip_gps: leave out where photos were taken (GPS), and nothing else.
        force: overwrite existing outputs (never originals), and protect photos that were protected
            before.
        sidecars: copy captions (.txt, .caption) and metadata.jsonl, which then names the outputs.
        mask: a picture of the photos' size that is white where they may change, or a folder with
            one of its name for each photo; None: they may change everywhere.
        faces: photos may change around faces alone (extra `face`); one in which none is found, and
            which the notes name, everywhere.
        skip_bad: protect the good photos and name the bad ones in the notes.
        progress: called with a label, steps done and their total.
        say: called before a long job with a sentence on how long it will take, which a trial of
            some seconds has found; None makes no trial.
        settings: fields of the method's Config, such as budget=8, set last.

    Returns:
        A record for each photo set.

    Raises:
        UserError: every fault found in the input, before anything is written.
    """
    given = dict(locals())  # the options are the arguments of their names
    arguments = check_arguments(protect, given)
    photos = [photos] if isinstance(photos, str | Path) else photos
    method, names = named_protection(
        protection,
        surrogates,
        device,
        config=config,
        preset=preset,
        refine=refine,
        fetch=fetch,
        settings=settings,
        arguments=arguments,
    )
    plan = plan_protection(photos, out, method, names, ProtectOptions.among(given))
    outputs = [o for task in plan.tasks for o in task.outputs]
    with locked(plan.out, "protect", outputs) as told:
        results = _protect_sets(plan.job, plan.tasks, plan.out, force, progress, say)
        write_copies(plan.copies)
    said = config is not None or isinstance(protection, specs.Method)
    notes = [*plan.notes, *told, *(paper_note(method, names) if said else [])]
    results[0] = replace(results[0], notes=[*notes, *results[0].notes])
    where = "around faces" if faces else "within a mask" if mask else ""
    effects = effect_notes(method, names, where)
    results[-1] = replace(results[-1], notes=[*results[-1].notes, *effects])
    if write_page(results, plan.out) is None:
        results[-1] = replace(results[-1], notes=[*results[-1].notes, NOT_OURS.format(plan.out)])
    return Listed(results, summary(results))


def _protect_sets(
    job: ProtectJob,
    tasks: list[PhotoSetTask],
    out: Path,
    force: bool,
    progress: Progress | None,
    say: Callable[[str], None] | None,
) -> list[SetRecord]:
    """Protect what the same job has not protected before, and remove what stopped runs left."""
    if not force:
        refuse_overwriting(tasks)
    keep_private(out / FOLDER, [file for task in tasks for file in task.source.files])
    earlier = [None if force else read_result(t.folder, t.key, t.contents) for t in tasks]
    left = [task for task, done in zip(tasks, earlier, strict=True) if done is None]
    for task, done in zip(tasks, earlier, strict=True):
        task.at_hand.forget(task.source.files if done else ())
    workloads = Workloads()
    if say:
        for sentence in expectation(job, left, workloads):
            say(sentence)
    forecast = Forecast(protection_parts(job, left, workloads) if progress else [])
    progress = progress and telling(forecast, progress)
    results = []
    for number, (task, done) in enumerate(zip(tasks, earlier, strict=True)):
        _tell(progress, number, len(tasks))
        results.append(done or protect_set(job, task, progress))
        forecast.finished(task.key)
        end_saving(task.folder)
        for checkpoint in task.folder.glob("state-*.safetensors"):
            checkpoint.unlink()
    _tell(progress, len(tasks), len(tasks))
    if len(results) > 1:
        overview(results, job.config.budget, out / FOLDER / "overview.png")
    return results


def _tell(progress: Progress | None, done: int, total: int) -> None:
    """Report the photo sets that are done, where there are several."""
    if progress and total > 1:
        progress("photo sets", done, total)
