"""`cloakwork mine`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, UseAppendAction, arg

from cloakwork.cli.common import parse
from cloakwork.cli.progress import progress_bars
from cloakwork.cli.terminal import plain_console
from cloakwork.errors import UserError

WHERE = "(repeatable, default: the current folder)"


@dataclass(frozen=True)
class MineFlags:
    """Which photos, and where the records are."""

    photos: Annotated[
        Positional[tuple[str, ...]], arg(metavar="PHOTO ...", help_behavior_hint="(one or more)")
    ]
    """photos that were found, folders or globs"""
    folders: Annotated[
        UseAppendAction[tuple[Path, ...]],
        arg(name="in", metavar="FOLDER", help_behavior_hint=WHERE),
    ] = ()
    """folder that `cloakwork protect` wrote, or one over such"""


def mine_command(words: list[str]) -> None:
    """Run `cloakwork mine`."""
    about = "Say whether photos that were found are among those you protected. Nothing is written."
    flags = parse(MineFlags, "mine", about, words)
    if not flags.photos:
        raise UserError(
            "No photo was given. Name photos, as in cloakwork mine found.jpg --in safe/."
        )

    # after the parser, so that --help does not load torch
    from cloakwork.workflows.mine import mine

    with progress_bars() as progress:
        found = mine(flags.photos, flags.folders or ".", progress=progress)
    console = plain_console()
    for line in (found.summary.head, *found.summary.notes):
        console.print(line)
