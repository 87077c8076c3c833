"""`cloakwork try`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cloakwork.cli.common import FROM_RECORDS, parse
from cloakwork.cli.progress import progress_bars
from cloakwork.cli.terminal import plain_console
from cloakwork.errors import UserError
from cloakwork.workflows.defaults import TRIED_PURIFIERS

if TYPE_CHECKING:
    from cloakwork.workflows.shown import Listed
    from cloakwork.workflows.try_results import Tried

SPEC = "SPEC[+...]"
TRIED = f"(repeatable, default: {', '.join(TRIED_PURIFIERS)})"
TITLE = "How far latents are moved, in shares of their spread"


@dataclass(frozen=True)
class TryFlags:
    """What is tried, and on whose eyes."""

    photos: Annotated[
        Positional[tuple[str, ...]], arg(metavar="PHOTO ...", help_behavior_hint="(one or more)")
    ]
    """protected photos, folders or globs"""
    out: Annotated[
        Path | None,
        arg(aliases=("-o",), metavar="FOLDER", help_behavior_hint="(default: none is written)"),
    ] = None
    """folder for a picture (try.png) and the numbers (try.json)"""
    clean: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint=FROM_RECORDS)] = None
    """folder of the originals, by the same names"""
    purifier: Annotated[
        UseAppendAction[tuple[str, ...]], arg(metavar=SPEC, help_behavior_hint=TRIED)
    ] = ()
    """what the photos may go through first, as of `cloakwork purify`"""
    autoencoder: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(metavar="MODEL", help_behavior_hint="(repeatable, default: all that are at hand)"),
    ] = ()
    """whose latents are looked at: a family (sd, sdxl, sd3, flux, flux2, qwen, sana; NAME:tiny or
    NAME:full), tiny, tiny-b, a folder or a hub id"""
    fetch: bool = False
    """fetch encoders of families from the hub that are not on this machine"""
    seed: int = 0
    """same seed, same machine, same numbers"""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, mps"""


def try_command(words: list[str]) -> None:
    """Run `cloakwork try`."""
    flags = parse(TryFlags, "try", "Say in seconds what is left of a protection.", words)
    if not flags.photos:
        raise UserError(
            "No photos were given. Name protected photos, folders or globs, "
            "as in cloakwork try safe/."
        )

    # after the parser, so that --help does not load torch
    from cloakwork.workflows.try_photos import try_photos

    with progress_bars() as progress:
        tried = try_photos(
            flags.photos,
            flags.out,
            clean=flags.clean,
            purifiers=flags.purifier or TRIED_PURIFIERS,
            **({"coders": flags.autoencoder} if flags.autoencoder else {}),
            fetch=flags.fetch,
            seed=flags.seed,
            device=flags.device,
            progress=progress,
        )
    _report(tried, flags.out)


def _report(tried: Listed[Tried], out: Path | None) -> None:
    """Print what is left after each purifier, by encoder, and what that means."""
    from rich.table import Table

    table = Table(title=TITLE, title_justify="left")
    table.add_column("after", overflow="fold")
    table.add_column("seen by", overflow="fold")
    for name in ("photos", "noise", "times noise", "left"):
        table.add_column(name, justify="right")
    for after, rows in groupby(tried.summary.rows, key=lambda row: row["after"]):
        for number, row in enumerate(rows):
            moved = (f"{row[name]:.3f}" for name in ("protected", "noise"))
            shares = (f"{row['times_noise']:.1f}", f"{row['left']:.0%}")
            table.add_row("" if number else after, row["encoder"], *moved, *shares)
        table.add_section()
    console = plain_console(soft_wrap=False)
    console.print(table)
    console = plain_console()
    for line in (tried.summary.head, *tried.summary.notes):
        console.print(line)
    if out:
        console.print(f"Picture: {out / 'try.png'}; numbers: try.json beside it.")
