"""The tutorials: run, and shown as pages.

    python website/notebooks.py [NAME ...]      (runs them and keeps what they print and show)

A notebook's pictures are kept in it; they are made small in the notebook itself.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat

FOLDER = Path(__file__).parents[1] / "docs" / "tutorials"
MOST_SECONDS = 900  # of a cell; a cell takes seconds on a machine that has nothing else to do


def run(path: Path, folder: Path) -> nbformat.NotebookNode:
    """Return a notebook after it was run in a folder of its own."""
    from nbclient import NotebookClient

    book = nbformat.read(path, as_version=4)
    NotebookClient(
        book,
        timeout=MOST_SECONDS,
        resources={"metadata": {"path": str(folder)}},
        kernel_name="python3",
        coalesce_streams=True,  # what is printed may come in several pieces, by chance
    ).execute()
    for cell in book.cells:
        # times and warnings of one machine
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    book.metadata = {"language_info": {"name": "python"}}
    return book


def shown(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and its pictures by their names in it."""
    from nbconvert import MarkdownExporter

    text, more = MarkdownExporter().from_filename(str(path), {"unique_key": path.stem})
    note = f'!!! note ""\n    This page is the notebook `docs/tutorials/{path.name}`.\n\n'
    title, _, rest = text.strip().partition("\n")
    return f"{title}\n\n{note}{rest}\n", more["outputs"]


def main() -> None:
    """Run the notebooks that are named, or all, and keep their outputs."""
    from tempfile import TemporaryDirectory

    for path in sorted(FOLDER.glob("*.ipynb")):
        if not sys.argv[1:] or path.stem in sys.argv[1:]:
            with TemporaryDirectory() as folder:
                nbformat.write(run(path, Path(folder)), path)
            print(path, path.stat().st_size, flush=True)


if __name__ == "__main__":
    main()
