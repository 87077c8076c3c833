"""What a grid found, for people: one offline HTML file, a blind comparison, every table as CSV and
LaTeX, and plain data.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cloakwork.benchmark.report import serialize, tables
from cloakwork.benchmark.results import Results
from cloakwork.errors import UserError
from cloakwork.files import atomic_write

if TYPE_CHECKING:
    from cloakwork.benchmark.grids import Grid
    from cloakwork.evaluation.steps import Workspace

LIMIT = 15_000_000  # bytes of each page: what a mail or a phone still takes
PICTURES = 11_000_000  # bytes of them that are for pictures, at most
MARGIN = 300_000  # bytes: what stands round the pictures


def write(
    findings: Results, out: Path, *, grid: Grid | None = None, workspace: Workspace | None = None
) -> list[Path]:
    """Write report.html, ab.html, findings.json and tables/*.csv and *.tex; each appears whole or
    not at all.

    Args:
        findings: of a whole grid.
        out: folder.
        grid: what the findings are of; with it and `workspace` the pages show pictures, as far as
            the store holds them.
        workspace: with the store; nothing is computed.

    Returns:
        The files.

    Raises:
        UserError: the folder cannot be written.
    """
    from cloakwork.benchmark.report import blind_page, gallery, html

    out = Path(out)
    texts = {f"tables/{name}": text for name, text in tables.files(findings)}
    texts["findings.json"] = serialize.dump(findings)
    beside = [*(["ab.html"] if grid else []), *texts]
    drawn = html.parts(findings)
    shown, pairs = gallery.Gallery(), []
    if grid and workspace:
        without_pictures = len(html.page(findings, drawn, shown, beside).encode())
        room = min(PICTURES, LIMIT - MARGIN - without_pictures)
        shown = gallery.gallery(findings, grid, workspace, max(0, room))
        pairs = blind_page.pairs(grid, workspace, PICTURES)
    texts |= {
        "report.html": html.page(findings, drawn, shown, beside),
        "ab.html": blind_page.page(findings, pairs),
    }
    for name, text in texts.items():
        with atomic_write(out / name) as part:
            part.write_text(text, encoding="utf-8")
    return [out / name for name in texts]


def read(path: Path) -> Results:
    """Read the findings that a findings.json holds.

    Raises:
        UserError: it cannot be read, holds none, or a newer version has written it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read ({error}); name the findings.json of a report."
        ) from None
    return serialize.load(text, str(path))
