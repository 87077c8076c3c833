"""Prints the longest sentences of the documents, by words.

    python website/longest.py [DOCUMENT ...]

Tables, code, pictures and addresses are no words. Without documents it reads README.md,
CONTRIBUTING.md and all of docs/.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHOWN = 10


def documents() -> list[Path]:
    """Return the documents that people read."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]


def sentences(text: str) -> list[str]:
    r"""Return the sentences of running text and of lists.

    >>> sentences("# A\n\nOne. Two\nmore: three.\n\n- four\n- [five](six)")
    ['A', 'One.', 'Two\nmore:', 'three.', 'four', 'five']
    """
    text = re.sub(r"```.*?```", "\n\n", text, flags=re.DOTALL)
    text = re.sub(r"^\|.*$|!\[.*?\]\(.*?\)|^<.*>$", "\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", text)
    parts = re.split(r"\n\s*\n|^\s*- |^#+ ", text, flags=re.MULTILINE)
    return [s.strip() for p in parts for s in re.split(r"(?<=[.:!?*])\s+", p) if s.strip()]


def longest(paths: list[Path]) -> list[tuple[int, str, str]]:
    """Return words, document and text of every sentence, the longest first."""
    found = [
        (len(s.split()), path.name, " ".join(s.split()))
        for path in paths
        for s in sentences(path.read_text(encoding="utf-8"))
    ]
    return sorted(found, reverse=True)


if __name__ == "__main__":
    for words, name, sentence in longest([Path(p) for p in sys.argv[1:]] or documents())[:SHOWN]:
        print(f"{words:4} {name}: {sentence}")
