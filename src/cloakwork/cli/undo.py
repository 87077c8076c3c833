"""`cloakwork undo`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from cloakwork.cli.common import parse
from cloakwork.cli.terminal import plain_console

STATES = {
    "unchanged": "there, unchanged",
    "changed": "there, but changed since",
    "gone": "gone",
}


@dataclass(frozen=True)
class UndoFlags:
    """Whose originals."""

    protected: Annotated[Positional[Path], arg(metavar="PROTECTED")]
    """folder of protected photos, or one of them"""


def undo_command(words: list[str]) -> None:
    """Run `cloakwork undo`."""
    flags = parse(
        UndoFlags,
        "undo",
        "Say where the originals of protected photos are. Nothing is written.",
        words,
    )

    # after the parser, so that --help does not load torch
    from rich.table import Table

    from cloakwork.workflows.undo import undo

    rows = undo(flags.protected)
    table = Table()
    for name in ("protected photo", "its original", "which is"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(str(row.protected), str(row.original), STATES[row.state])
    console = plain_console()
    console.print(table)
    there = sum(row.state == "unchanged" for row in rows)
    console.print(
        "A protection cannot be taken out of a photo, but cloakwork never writes to an original. "
        f"Of {len(rows)} original{'s' * (len(rows) != 1)}, {there} can be had as before."
    )
