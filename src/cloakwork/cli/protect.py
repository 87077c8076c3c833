"""`cloakwork protect` and `cloakwork demo`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloakwork import specs
from cloakwork.cli import presets
from cloakwork.cli.common import ending, file_size
from cloakwork.cli.progress import progress_bars
from cloakwork.cli.protect_flags import Files, How, Sample, parse_protection, scan
from cloakwork.cli.terminal import plain_console
from cloakwork.errors import UserError
from cloakwork.files import SAMPLE_PHOTOS, expand_home

if TYPE_CHECKING:
    from rich.console import Console

    from cloakwork.workflows.protect_plan import ProtectOptions
    from cloakwork.workflows.records import SetRecord


def protect_command(words: list[str]) -> None:
    """Run `cloakwork protect`."""
    if "--list-presets" in words:
        named = scan(words).protection if "--protection" in words else ""
        return presets.list_presets(named.partition(":")[0] or None)
    files, how, config = parse_protection("protect", "Protect photos.", Files, words)
    if not files.photos:
        raise UserError(
            "No photos were given. Name photos, folders or globs, "
            "as in cloakwork protect photos/ -o safe/."
        )
    if files.dry_run:
        return _dry_run(files, how, config)
    _job(files.photos, files, how, config)


def demo_command(words: list[str]) -> None:
    """Run `cloakwork demo`."""
    about = "Protect the sample photos that come with cloakwork."
    sample, how, config = parse_protection("demo", about, Sample, words)
    _refuse_strangers(sample.out)
    from cloakwork.photos.folders import photo_files

    # not their folder, in which a text on where they are from would be named as passed over
    photos = tuple(map(str, photo_files(SAMPLE_PHOTOS)))
    _job(photos, Files(photos=(), out=sample.out, each=True, force=True), how, config)


def _refuse_strangers(out: Path) -> None:
    """Refuse to overwrite photos that no earlier demo wrote: they are the user's own."""
    from cloakwork.photos.sets import find_sets
    from cloakwork.workflows.records import written

    ours = written(expand_home(out).absolute())
    outputs = [o for s in find_sets([SAMPLE_PHOTOS], out) for o in s.outputs]
    if strange := [o for o in outputs if o.exists() and o not in ours]:
        raise UserError(
            *[
                f"{o} was not written by `cloakwork demo`, so it will not be overwritten. "
                "Name another folder with -o."
                for o in strange
            ]
        )


def _options(files: Files, how: How) -> ProtectOptions:
    """Return what a job and a dry run are both asked; flags have the options' names."""
    from cloakwork.workflows.protect_plan import ProtectOptions

    return ProtectOptions.among(vars(files) | vars(how) | {"suffix": ending(files.format)})


def _dry_run(files: Files, how: How, config: Any) -> None:
    """Print what a job would compute."""
    from cloakwork.workflows.protect_plan import plan_protection

    method, surrogates = specs.Method("protections", how.protection, config), how.surrogate
    plan = plan_protection(
        files.photos, files.out, method, surrogates, _options(files, how), dry=True
    )
    presets.dry_run(plan, len(surrogates))


def _job(photos: Sequence[str], files: Files, how: How, config: Any) -> None:
    """Protect photos and print a report."""
    from cloakwork.files import FOLDER
    from cloakwork.workflows import before_after
    from cloakwork.workflows.protect import protect

    with progress_bars() as progress:
        records = protect(
            photos,
            files.out,
            protection=how.protection,
            config=config,
            surrogates=how.surrogate,
            progress=progress,
            say=partial(print, flush=True),
            **vars(_options(files, how)),
        )
    console = plain_console()
    # with --each, a folder's sets share its name
    for _, group in groupby(records, key=lambda record: record.name):
        _report(console, list(group))
    if len(records) > 1:
        console.print(f"All at a glance: {files.out / FOLDER / 'overview.png'}")
    if (page := files.out / before_after.NAME).is_file():
        console.print(f"To look at, in a browser: {page}")


def _report(console: Console, records: list[SetRecord]) -> None:
    """Print what was done to one photo set, and what that does not mean.

    With --each the records are those of a folder's photos.
    """
    from rich.table import Table

    from cloakwork.workflows.records import reach

    first = records[0]
    table = Table(title=first.name or None, title_justify="left")
    table.add_column("photo", overflow="fold")
    for name in ("size", "budget used", "PSNR dB"):
        table.add_column(name, justify="right")
    table.add_column("visible")
    lossy = any(photo.left is not None for record in records for photo in record.photos)
    for name in ("left", "file") if lossy else ():
        table.add_column(name, justify="right")
    table.add_column("seconds", justify="right")
    for record in records:
        seconds = f"{record.seconds / len(record.photos):.1f}" if record.fresh else "done before"
        for photo in record.photos:
            psnr = f"{photo.psnr:.1f}" if math.isfinite(photo.psnr) else "unchanged"
            size = f"{photo.width} x {photo.height}"
            used = f"{photo.budget_used:.2f}"
            left = "all" if photo.left is None else f"{photo.left:.0%}"
            file = (left, file_size([photo.output])) if lossy else ()
            table.add_row(photo.name, size, used, psnr, photo.visible, *file, seconds)
    console.print(table)
    photos = [photo for record in records for photo in record.photos]
    before, now = (
        file_size(files) for files in zip(*[(p.original, p.output) for p in photos], strict=True)
    )
    console.print(f"Size of the files: {before} before, {now} now.")
    for note in dict.fromkeys(note for record in records for note in record.notes):
        console.print(note)
    console.print(reach(first))
    if len(records) == 1:
        console.print(f"Sheet: {first.sheet}\nRecord: {first.record}")
    else:
        folder = first.record.parent.parent
        console.print(f"Sheets and records: a folder for each photo in {folder}")
