"""Who made a protection, as its module's docstring says it."""

from __future__ import annotations

import re
from types import ModuleType

from cloakwork.benchmark.board.entry import Paper

# a paragraph that begins so: Somebody et al., "Title", arXiv 0000.00000
PAPER = re.compile(
    r'(?P<authors>[A-Z][^",.:;]*(?:et al\.)?), "(?P<title>[^"]+)"(?P<rest>[^.:;]*?)'
    r"(?=arXiv (?P<arxiv>\d{4}\.\d{4,5})|[.:;])"
)
OURS = "cloakwork"


def citation(module: ModuleType) -> tuple[str, Paper | None]:
    """Return the authors that a method's docstring names, and their paper.

    Authors are "" where the docstring of somebody's own module names none, and "cloakwork" for one
    of this package.
    """
    for paragraph in (module.__doc__ or "").split("\n\n"):
        if found := PAPER.match(" ".join(paragraph.split())):
            return found["authors"], Paper(found["title"], found["arxiv"] or "")
    return (OURS if module.__name__.partition(".")[0] == "cloakwork" else ""), None
