"""The command line: the only file that knows argv. Flags and help come from dataclasses, a method's own from its Config."""

from __future__ import annotations

import argparse
import math
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, make_dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, UseAppendAction, arg

from cloakwork import __version__, methods
from cloakwork.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from cloakwork.jobs import SetRecord

BY_SURROGATE = "(default: tiny for the embedded models, else paper)"
REPEATABLE = "(repeatable, default: tiny)"
SAMPLES = Path(__file__).parent / "tiny" / "photos"
USAGE = """\
usage: cloakwork COMMAND ...

Protects photos from being learned or edited by text-to-image diffusion models without consent.

commands:
  protect   protect photos:  cloakwork protect photos/ -o safe/
  demo      protect the sample photos that come with cloakwork
  list      the methods there are, one line each

cloakwork COMMAND --help says more about one; cloakwork --version says which version this is."""


@dataclass(frozen=True)
class Files:
    """Which photos, and how they are written."""

    photos: Annotated[Positional[tuple[str, ...]], arg(metavar="PHOTO ...", help_behavior_hint="(one or more)")]
    """photos, folders or globs; a folder is one photo set and its subfolders are further ones, loose files are one set"""
    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")]
    """folder for the protected photos; sheets and records go to FOLDER/.cloakwork"""
    clean: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """folder of unprotected photos of the same subject that the protection may learn from"""
    each: bool = False
    """treat every photo alone, as a set of its own"""
    format: Literal["png", "jpg", "webp", "tiff", "bmp"] = "png"
    """file format of the output; a lossy one loses some of the protection, and what is left is measured"""
    quality: int = 95
    """quality of lossy formats, 1 to 100"""
    strip_metadata: bool = False
    """leave out EXIF (place, time, camera) and XMP"""
    force: bool = False
    """overwrite photos in the output folder; originals are never overwritten"""
    skip_bad: bool = False
    """go on without the photos that cannot be read"""


@dataclass(frozen=True)
class Sample:
    """Where the demo writes."""

    out: Annotated[Path, arg(aliases=("-o",), metavar="FOLDER")] = Path("demo-output")
    """folder for the protected sample photos; those of an earlier demo are overwritten"""


@dataclass(frozen=True)
class How:
    """Which protection, against what."""

    protection: Annotated[str, arg(metavar="NAME")] = "aspl"
    """the method: a name from `cloakwork list`, or a module of your own such as my_lab.mine"""
    preset: Annotated[str | None, arg(metavar="NAME", help_behavior_hint=BY_SURROGATE)] = None
    """where the method's own flags start from"""
    surrogate: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="MODEL", help_behavior_hint=REPEATABLE)] = ()
    """model to protect against: tiny, tiny-b, a diffusers folder or a hub id (which is then fetched)"""
    seed: int = 0
    """same seed, same machine, same bytes"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """what the surrogates compute in"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 2 for a mistake that the user can mend, 130 when stopped."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill stops like Ctrl-C
    try:
        return _run(words)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped. Finished photos are whole; run the same command again to go on.", file=sys.stderr)
        return 130


def _run(words: list[str]) -> int:
    commands = {"protect": _protect, "demo": _demo, "list": _list}
    match words:
        case []:
            print(USAGE, file=sys.stderr)
            return 2
        case ["-h" | "--help", *_]:
            print(USAGE)
        case ["--version", *_]:
            print(f"cloakwork {__version__}")
        case [command, *rest] if command in commands:
            commands[command](rest)
        case [command, *_]:
            raise methods.unknown("command", command, list(commands))
    return 0


def _list(words: list[str]) -> None:
    match words:
        case ["-h" | "--help", *_]:
            print(f"usage: cloakwork list [KIND]\n\nThe methods there are, one line each. KIND: {', '.join(methods.KINDS)}.")
            return
        case []:
            kinds = methods.KINDS
        case [kind] if kind in methods.KINDS:
            kinds = (kind,)
        case [kind, *more]:
            raise UserError(f"Give one kind, not {len(words)}.") if more else methods.unknown("kind", kind, list(methods.KINDS))
    for kind in kinds:
        if rows := methods.listing(kind):
            print("\n".join([kind, *(f"  {name:<18}{text}".rstrip() for name, text in rows)]))


def _protect(words: list[str]) -> None:
    files, how, config = _parse("protect", "Protect photos.", Files, words)
    if not files.photos:
        raise UserError("No photos were given: name photos, folders or globs, as in cloakwork protect photos/ -o safe/.")
    _job(files.photos, files, how, config)


def _demo(words: list[str]) -> None:
    sample, how, config = _parse("demo", "Protect the sample photos that come with cloakwork.", Sample, words)
    _job((str(SAMPLES),), Files(photos=(), out=sample.out, each=True, force=True), how, config)


def _parse(command: str, what: str, flags: type, words: list[str]) -> tuple[Any, How, Any]:
    """One flat parser of the command's flags, the common ones and those of the chosen method, which start from its preset."""
    chosen = _scan(words)
    module = methods.load("protections", chosen.protection)
    _refuse_clashes(module, flags, How)
    start = methods.config(module, chosen.preset, chosen.surrogate)
    parts = [
        ("files", Annotated[flags, FlagCreatePairsOff]),
        ("how", How),
        ("config", Annotated[module.Config, arg(name=chosen.protection)], field(default_factory=lambda: start)),
    ]
    presets = ", ".join(sorted(getattr(module, "PRESETS", {})))
    about = f"{what}\n\n{chosen.protection}: {(module.__doc__ or '').partition(chr(10))[0]} Presets: {presets or 'none'}."
    parsed = tyro.cli(
        make_dataclass("Flags", parts, frozen=True),
        prog=f"cloakwork {command}",
        description=about,
        args=words,
        config=(OmitArgPrefixes,),
    )
    return parsed.files, parsed.how, parsed.config


def _scan(words: list[str]) -> argparse.Namespace:
    """The flags that decide which parser to build. Everything else, mistakes included, is left to that parser."""
    scan = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    scan.add_argument("--protection", nargs="?", const=How.protection, default=How.protection)
    scan.add_argument("--preset", nargs="?")
    scan.add_argument("--surrogate", nargs="?", action="append", default=[])
    chosen, _ = scan.parse_known_args(words)
    chosen.surrogate = [name for name in chosen.surrogate if name] or ["tiny"]
    return chosen


def _refuse_clashes(module: ModuleType, *common: type) -> None:
    taken = {flag.name for flags in common for flag in fields(flags)}
    if clash := ", ".join(sorted(taken & {flag.name for flag in fields(module.Config)})):
        raise UserError(f"The Config of '{module.__name__}' has fields that are flags of the command already: {clash}.")


def _job(photos: Sequence[str], files: Files, how: How, config: Any) -> None:
    from rich.console import Console

    from cloakwork.jobs import protect
    from cloakwork.records import FOLDER

    with _bars() as progress:
        records = protect(
            photos,
            files.out,
            protection=how.protection,
            config=config,
            surrogates=how.surrogate or ("tiny",),
            seed=how.seed,
            clean=files.clean,
            device=how.device,
            dtype=how.dtype,
            each=files.each,
            suffix=f".{files.format}",
            quality=files.quality,
            strip_metadata=files.strip_metadata,
            force=files.force,
            skip_bad=files.skip_bad,
            progress=progress,
        )
    console = Console(markup=False, highlight=False, soft_wrap=True)
    for _, group in groupby(records, key=lambda record: record.name):  # with --each, a folder's sets share its name
        _report(console, list(group))
    if len(records) > 1:
        console.print(f"All at a glance: {files.out / FOLDER / 'overview.png'}")


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """Progress bars with the time left on stderr, one a loop that is under way."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), "left:")
    console = Console(stderr=True)
    bars = Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        speed_estimate_period=3600,  # seconds: a step may take minutes, and rich forgets speeds after half a minute
    )
    tasks = {}

    def show(label: str, done: int, total: int) -> None:
        if label not in tasks:
            tasks[label] = bars.add_task(label, total=total)
        bars.update(tasks[label], completed=done, total=total)
        if done >= total:
            bars.remove_task(tasks.pop(label))

    with bars:
        yield show


def _report(console: Console, records: list[SetRecord]) -> None:
    """What was done to one photo set (or, with --each, to each photo of a folder), and what that does not mean."""
    from rich.table import Table

    first = records[0]
    table = Table(title=first.name or None, title_justify="left")
    table.add_column("photo", overflow="fold")
    for name in ("size", "budget used", "PSNR dB", "SSIM", "seconds"):
        table.add_column(name, justify="right")
    for record in records:
        seconds = f"{record.seconds / len(record.photos):.1f}" if record.fresh else "done before"
        for photo in record.photos:
            psnr = f"{photo.psnr:.1f}" if math.isfinite(photo.psnr) else "unchanged"
            size = f"{photo.width} x {photo.height}"
            table.add_row(photo.name, size, f"{photo.budget_used:.2f}", psnr, f"{photo.ssim:.3f}", seconds)
    console.print(table)
    for note in dict.fromkeys(note for record in records for note in record.notes):
        console.print(note)
    if first.surrogates:
        console.print(f"Computed against {', '.join(first.surrogates)}. Not shown to protect against any other model.")
    else:
        console.print(f"{first.protection} is computed against no model. Not shown to protect against any model.")
    if len(records) == 1:
        console.print(f"Before and after: {first.sheet}\nRecord: {first.record}")
    else:
        console.print(f"Before and after, and records: a folder for each photo in {first.record.parent.parent}")
