"""Shows the doctests in docstrings as code, which Markdown would take for quotations."""

from __future__ import annotations

import re
from typing import Any

import griffe

# from a prompt to the next empty line
DOCTEST = re.compile(r"^>>> .*?(?=\n\s*\n|\Z)", re.DOTALL | re.MULTILINE)


class Doctests(griffe.Extension):
    """Fence them in whatever has a docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of an object that was just read."""
        if obj.docstring:
            obj.docstring.value = DOCTEST.sub(fenced, obj.docstring.value)


def fenced(found: re.Match[str]) -> str:
    """Return a doctest as a block of code."""
    return f"```pycon\n{found[0]}\n```"
