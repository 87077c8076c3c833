"""`cloakwork protect` and `cloakwork demo`.

Flags and help come from dataclasses, a method's own from its Config.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass, make_dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from cloakwork import registry, specs
from cloakwork.cli import presets
from cloakwork.cli.common import PARTS, QUALITY, ending, file_size, parse
from cloakwork.cli.progress import progress_bars
from cloakwork.cli.terminal import plain_console
from cloakwork.errors import UserError
from cloakwork.files import SAMPLE_PHOTOS, expand_home
from cloakwork.models.names import with_parts

if TYPE_CHECKING:
    from rich.console import Console

    from cloakwork.workflows.protect_plan import ProtectOptions
    from cloakwork.workflows.records import SetRecord

BY_SURROGATE = "(default: tiny for the embedded models, else paper)"
REPEATABLE = "(repeatable, default: tiny)"


@dataclass(frozen=True)
class Files:
    """Which photos, and how they are written."""

    photos: Annotated[
        Positional[tuple[str, ...]], arg(metavar="PHOTO ...", help_behavior_hint="(one or more)")
    ]
    """photos, folders or globs; a folder is one photo set and its subfolders are further ones,
    loose files are one set"""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
    """folder for the protected photos; sheets and records go to FOLDER/.cloakwork"""
    clean: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """folder of unprotected photos of the same subject that the protection may learn from"""
    mask: Annotated[Path | None, arg(metavar="FILE")] = None
    """a picture of the photos' size that is white where they may change, or a folder with one of
    its name for each photo"""
    faces: bool = False
    """let photos change around faces alone (extra `face`); one in which none is found everywhere"""
    each: bool = False
    """treat every photo alone, as a set of its own"""
    one_set: bool = False
    """treat all photos as one set, such as those of one person in three folders"""
    format: Literal["same", "png", "jpg", "webp", "tiff", "bmp"] = "png"
    """file format of the output; same: each photo's own, and png where that cannot be written; a
    lossy one loses some of the protection, and what is left is measured"""
    quality: Annotated[int | None, arg(help_behavior_hint=QUALITY)] = None
    """quality of lossy formats, 1 to 100; WebP is lossy with one"""
    for_width: Annotated[int | None, arg(name="for", metavar="PIXELS")] = None
    """for uploads: make wider photos this wide first, as platforms do, and protect what comes of
    it; none is enlarged"""
    jpeg: Annotated[int | None, arg(metavar="QUALITY")] = None
    """for uploads: write JPEG of this quality, 1 to 100, as platforms do (4:2:0), and say what it
    leaves of the protection"""
    strip_metadata: bool = False
    """leave out EXIF (place, time, camera), XMP, IPTC and texts"""
    strip_gps: bool = False
    """leave out where photos were taken (GPS), and nothing else"""
    force: bool = False
    """overwrite photos in the output folder (originals are never overwritten), and protect photos
    that were protected before"""
    skip_bad: bool = False
    """go on without the photos that cannot be read"""
    sidecars: bool = False
    """copy captions (.txt, .caption) and metadata.jsonl beside the photos, with names adjusted"""
    dry_run: bool = False
    """compute nothing and fetch nothing: open photos and models, and count the steps and the passes
    through the models that it would take"""
    list_presets: bool = False
    """show every preset of the chosen --protection (of all without one) with budget, steps and
    measured cost"""


@dataclass(frozen=True)
class Sample:
    """Where the demo writes."""

    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")] = Path("demo-output")
    """folder for the protected sample photos; those of an earlier demo are overwritten, and nothing
    else is"""


@dataclass(frozen=True)
class How:
    """Which protection, against what."""

    protection: Annotated[str, arg(metavar="NAME")] = registry.DEFAULT_PROTECTION
    """the method: a name from `cloakwork list`, `strongest`, or a module of your own such as
    my_lab.mine; with its settings as in photoguard:tiny:steps=30"""
    preset: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=BY_SURROGATE)] = None
    """where the method's own flags start from"""
    refine: Annotated[int, arg(metavar="N")] = 0
    """go on from a protection that asks no model, such as learned, with N steps of pid:refined"""
    surrogate: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar="MODEL", help_behavior_hint=REPEATABLE)
    ] = ()
    """model to protect against: tiny, tiny-b, a diffusers folder, a hub id (which is then fetched)
    or a safetensors file, with a LoRA as in FILE+LORA; for protections that need no denoiser also
    an encoder alone: a family (sd, sdxl, sd3, flux, flux2, qwen, sana; NAME:tiny or NAME:full), all
    that are at hand, an autoencoder's folder or hub id"""
    parts: Annotated[Path | None, arg(metavar="FOLDER", help=PARTS)] = None
    fetch: bool = False
    """fetch encoders of families from the hub that are not on this machine; `cloakwork list models`
    says how large they are"""
    seed: int = 0
    """same seed, same machine, same bytes"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """what the surrogates compute in"""
    sample_posterior: bool = False
    """encode photos to a sample of the VAE's posterior, as Stable Diffusion's training does, not to
    its mean"""
    low_memory: bool = False
    """compute in less memory and up to 1.3 times the time, as is done anyway where memory is short;
    changes no byte"""
    graphs: bool = False
    """on cuda: replay passes through networks that do not learn as CUDA graphs, which launches a
    pass as a whole; changes no byte, has not been timed, and is not done for encoders alone"""


def protect_command(words: list[str]) -> None:
    """Run `cloakwork protect`."""
    if "--list-presets" in words:
        named = _scan(words).protection if "--protection" in words else ""
        return presets.list_presets(named.partition(":")[0] or None)
    files, how, config = _parse("protect", "Protect photos.", Files, words)
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
    sample, how, config = _parse("demo", about, Sample, words)
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


def _parse(command: str, what: str, flags: type, words: list[str]) -> tuple[Any, How, Any]:
    """Parse the command's flags, the common ones and those of the chosen method.

    The method's own flags start from its preset.

    Returns:
        The command's flags, the common ones, and the method's Config.
    """
    chosen = _scan(words)
    method = specs.parse("protections", chosen.protection, chosen.surrogate)
    name, module, start = method.name, method.module, method.config
    _refuse_clashes(module, flags, How)
    if chosen.preset is not None:
        if ":" in chosen.protection:
            raise UserError(
                f"--preset {chosen.preset} is given beside {chosen.protection}, which has settings "
                "of its own. Give one of the two."
            )
        start = registry.config(module, chosen.preset, chosen.surrogate)
    if chosen.refine:
        from cloakwork.perturbation.start import refined

        method = refined(specs.Method("protections", name, start), chosen.refine)
        name, module, start = method.name, method.module, method.config
        _refuse_clashes(module, flags, How)
    parts = [
        ("files", Annotated[flags, FlagCreatePairsOff]),
        ("how", How, field(default_factory=How)),
        (
            "config",
            Annotated[module.Config, arg(name=name)],
            field(default_factory=lambda: start),
        ),
    ]
    known = ", ".join(sorted(getattr(module, "PRESETS", {})))
    summary = f"{name}: {registry.summary(module.__doc__)}"
    about = f"{what}\n\n{summary} Presets: {known or 'none'}."
    parsed = parse(make_dataclass("Flags", parts, frozen=True), command, about, words, pairs=True)
    surrogate = with_parts(chosen.surrogate, parsed.how.parts)
    how = replace(parsed.how, protection=name, surrogate=tuple(surrogate))
    return parsed.files, how, parsed.config


def _scan(words: list[str]) -> argparse.Namespace:
    """Parse the flags that decide which parser to build.

    Everything else, mistakes included, is left to that parser.
    """
    scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    scan.add_argument("--protection", nargs="?")
    scan.add_argument("--preset", nargs="?")
    scan.add_argument("--refine", nargs="?")
    scan.add_argument("--surrogate", nargs="?", action="append", default=[])
    scan.add_argument("--device", nargs="?")
    scan.add_argument("--fetch", action="store_true")
    chosen, _ = scan.parse_known_args(words)
    chosen.protection = chosen.protection or registry.DEFAULT_PROTECTION
    number = re.fullmatch(r"-?\d+", chosen.refine or "")
    chosen.refine = int(number[0]) if number else 0
    chosen.surrogate = [name for name in chosen.surrogate if name] or ["tiny"]
    if not {"-h", "--help"} & set(words):
        from cloakwork.models.latent_spaces import spelled

        how = {"fetch": chosen.fetch and "--dry-run" not in words}
        chosen.surrogate = spelled(chosen.surrogate, chosen.device or "auto", **how)
    return chosen


def flag_names(*common: type) -> set[str]:
    """Return the names of flags, by the dataclasses that they come from.

    Fields of a field that is a dataclass are flags too, without its name before them.
    """
    found = set()
    for flags in common:
        types = get_type_hints(flags)
        for flag in fields(flags):
            kind = types[flag.name]
            nested = isinstance(kind, type) and is_dataclass(kind)
            found |= flag_names(kind) if nested else {flag.name}
    return found


def _refuse_clashes(module: ModuleType, *common: type) -> None:
    """Refuse a method whose fields have the names of common flags."""
    taken = flag_names(*common)
    if clash := ", ".join(sorted(taken & flag_names(module.Config))):
        raise UserError(
            f"The Config of '{module.__name__}' has fields that are flags of the command already: "
            f"{clash}. Rename them."
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
