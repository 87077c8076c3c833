"""Everything that is found out before a protection computes anything: what is to be done, and every
reason not to.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cloakwork.errors import UserError
from cloakwork.evaluation.sources import Source
from cloakwork.files import expand_home
from cloakwork.models import pipelines
from cloakwork.photos.left_out import left_out
from cloakwork.photos.masks import Drawn, Masks, mask_digests
from cloakwork.photos.saving import idle_quality
from cloakwork.photos.sets import PhotoSet, find_sets, load_all
from cloakwork.photos.sidecars import Copy, copies, find_sidecars, sidecar_note
from cloakwork.specs import Method
from cloakwork.workflows.at_hand import AtHand
from cloakwork.workflows.face_masks import AroundFaces, around_faces
from cloakwork.workflows.places import own_files, records_folder, refuse_places
from cloakwork.workflows.protect_job import (
    PhotoSetTask,
    ProtectJob,
    check_config,
    clean_photos,
    refuse_overwriting,
    task_of,
)
from cloakwork.workflows.protect_surrogates import load_surrogates
from cloakwork.workflows.protected_before import protected_before
from cloakwork.workflows.shown import by_photo


@dataclass(frozen=True, kw_only=True)
class ProtectOptions:
    """How photos are protected beside the method, as `protect.protect` says of each."""

    seed: int = 0
    clean: Path | str | None = None
    device: str = "auto"
    dtype: str = "float32"
    sample_posterior: bool = False
    low_memory: bool = False
    graphs: bool = False
    each: bool = False
    one_set: bool = False
    suffix: str = ".png"
    quality: int | None = None
    for_width: int | None = None
    jpeg: int | None = None
    strip_metadata: bool = False
    strip_gps: bool = False
    force: bool = False
    skip_bad: bool = False
    sidecars: bool = False
    mask: Path | str | None = None
    faces: bool = False

    @classmethod
    def among(cls, given: Mapping[str, Any]) -> ProtectOptions:
        """Take them from among other things that were given, by their names."""
        return cls(**{option.name: given[option.name] for option in fields(cls)})


@dataclass(frozen=True)
class ProtectPlan:
    """What is to be done, with nothing left that would forbid it."""

    job: ProtectJob
    tasks: list[PhotoSetTask]
    notes: list[str]
    """on photos and files that are left out"""
    out: Path
    """the output folder, absolute"""
    copies: list[Copy]
    """files beside the photos that are to be copied"""
    unfetched: tuple[str, ...] = ()
    """surrogates that are on the hub and not on this machine, so that nobody has looked at them"""


def plan_protection(
    photos: Sequence[Path | str],
    out: Path | str,
    method: Method,
    surrogates: Sequence[str],
    how: ProtectOptions,
    *,
    dry: bool = False,
) -> ProtectPlan:
    """Open all photos and models, and make the plan; nothing is written.

    Args:
        photos, out, method, surrogates: as of `protect.protect`.
        how: all else that it was given.
        dry: nothing is to be done: models that would come from the hub are left out of the plan and
            named in it, and outputs that exist are refused at once, not under the folder's lock.

    Raises:
        UserError: every fault that is found.
    """
    uses_models = getattr(method.module, "USES_SURROGATES", True)
    suffix, quality = _as_jpeg(how.jpeg, how.suffix, how.quality)
    check_config(method.config, quality, surrogates if uses_models else None, how.for_width)
    out = Path(os.path.abspath(expand_home(out)))
    found = find_sets(photos, out, each=how.each, one_set=how.one_set, suffix=suffix)
    sets, skipped, at_hand = _load(found, method, how, dry)
    files = [file for s in sets for file in s.files]
    again = _again(files, out, how.force)
    known = clean_photos(how.clean, out, sets)
    masks = _masks(how.mask, how.faces)
    masked = mask_digests(masks, files) if masks else None
    asked = list(surrogates) if uses_models else []
    here = [pipelines.without_network(name) for name in asked] if dry else asked
    job = _job(method, [name for name in here if name], how, suffix, quality, known, masks)
    tasks = _tasks(job, sets, out, how.each, at_hand, masked)
    if dry and not how.force:
        refuse_overwriting(tasks)
    unfetched = tuple(name for name, there in zip(asked, here, strict=True) if not there)
    beside = find_sidecars(sets, out)
    copied = copies(beside, sets, force=how.force) if how.sidecars else None
    rest = left_out(photos, out, found, [sidecar.file for sidecar in find_sidecars(found, out)])
    idle = idle_quality((output for s in sets for output in s.outputs), quality)
    notes = [*skipped, *rest, *sidecar_note(beside, copied), *again, *idle, *_faceless(masks)]
    return ProtectPlan(job, tasks, notes, out, copied or [], unfetched)


def _load(
    found: list[PhotoSet], method: Method, how: ProtectOptions, dry: bool
) -> tuple[list[PhotoSet], list[str], AtHand]:
    """Load every photo once.

    Returns:
        The sets without bad photos, a sentence for each of these, and what is kept of the others
            for a job that protects them together.
    """
    at_hand = AtHand(frozenset(found[0].files), width=how.for_width)
    together = not dry and not getattr(method.module, "SINGLY", False)
    sets, skipped = load_all(
        found,
        skip_bad=how.skip_bad,
        strip_metadata=how.strip_metadata,
        width=how.for_width,
        keep=at_hand.keep if together else None,
    )
    return sets, skipped, at_hand


def _again(files: Sequence[Path], out: Path, force: bool) -> list[str]:
    """Return the notes on photos that were protected before.

    Raises:
        UserError: there are such, and they are not to be protected again.
    """
    before = protected_before(files, out)
    if before and not force:
        raise UserError(*[photo.fault for photo in before])
    return by_photo((photo.file.name, [photo.note]) for photo in before)


def _job(
    method: Method,
    surrogates: Sequence[str],
    how: ProtectOptions,
    suffix: str,
    quality: int | None,
    clean: Source | None,
    masks: Masks | None,
) -> ProtectJob:
    """Load the surrogates, and return what is done to the photos."""
    models = load_surrogates(
        method,
        surrogates,
        how.device,
        how.dtype,
        sample_posterior=how.sample_posterior,
        low_memory=how.low_memory,
        graphs=how.graphs,
    )
    return ProtectJob(
        method,
        models,
        how.seed,
        clean,
        suffix,
        quality,
        how.strip_metadata,
        how.strip_gps,
        masks,
        how.for_width,
        halved=how.jpeg is not None,
    )


def _tasks(
    job: ProtectJob,
    sets: Sequence[PhotoSet],
    out: Path,
    each: bool,
    at_hand: AtHand,
    masked: Mapping[Path, str] | None,
) -> list[PhotoSetTask]:
    """Return the photo sets with the folders of their records.

    Raises:
        UserError: files that could not be written.
    """
    folders = [records_folder(out, s.name, s.outputs[0].stem if each else "") for s in sets]
    tasks = [
        task_of(job, s, out, folder, at_hand, masked)
        for s, folder in zip(sets, folders, strict=True)
    ]
    refuse_places(file for task in tasks for file in (*task.outputs, *own_files(task.folder)))
    return tasks


def _masks(mask: Path | str | None, faces: bool) -> Masks | None:
    """Return where photos may change; None: everywhere.

    Raises:
        UserError: both ways to say it were given, or there is no detector of faces.
    """
    if mask and faces:
        raise UserError("--mask and --faces both say where photos may change. Give one of them.")
    if faces:
        return around_faces()
    return Drawn(expand_home(mask)) if mask else None


def _faceless(masks: Masks | None) -> list[str]:
    """Return the sentence on photos without a face, where faces were looked for."""
    if not isinstance(masks, AroundFaces) or not masks.without:
        return []
    names = ", ".join(photo.name for photo in masks.without)
    return [f"No face was found in {names}, which may therefore change everywhere."]


def _as_jpeg(jpeg: int | None, suffix: str, quality: int | None) -> tuple[str, int | None]:
    """Return the ending and the quality of outputs, where they may be a platform's JPEG.

    >>> _as_jpeg(75, ".png", None), _as_jpeg(None, ".webp", 80)
    (('.jpg', 75), ('.webp', 80))

    Raises:
        UserError: another format or quality was asked for as well.
    """
    if jpeg is None:
        return suffix, quality
    if suffix not in (".png", ".jpg", ".jpeg") or quality is not None:
        raise UserError(
            f"A JPEG of quality {jpeg} was asked for beside another format or quality. "
            "Give --jpeg, or --format and --quality."
        )
    return ".jpg", jpeg
