"""The board: entries of what a benchmark found, beside others' entries, as a page."""

from __future__ import annotations

from pathlib import Path

from cloakwork.benchmark.board import folder, make, page
from cloakwork.benchmark.results import Results
from cloakwork.errors import UserError
from cloakwork.files import expand_home


def board(out: Path | str, entries: Path | str | None = None, found: Results | None = None) -> Path:
    """Write the board's page, and the entries of a benchmark's protections and controls.

    Args:
        out: folder for board.html and entries/.
        entries: folder of entries that the page shows too, such as board/ of the repository; its
            controls stand in place of those of `found`, whose protections replace its own.
        found: what the recipe `board` found.

    Returns:
        The page.

    Raises:
        UserError: an entry is not as it must be, or there is none.
    """
    if entries is None and found is None:
        raise UserError("There is nothing to show. Give a folder of entries, or findings.")
    others = folder.read_all(expand_home(entries)) if entries is not None else []
    methods = [p for table in found.tables for p in table.protections] if found else []
    made = make.entries([found], methods) if found else []
    out = expand_home(out)
    if made:
        folder.write(made, out / "entries")
    controls = [entry for entry in others if entry.control]
    shown = {entry.method: entry for entry in [*others, *made, *controls]}
    page.write(list(shown.values()), out / "board.html")
    return out / "board.html"
