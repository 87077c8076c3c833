"""Tables that a benchmark writes into a document, between marks of their own."""

from __future__ import annotations

from pathlib import Path


def write(doc: Path, name: str, lines: list[str]) -> None:
    """Puts lines between `<!-- NAME -->` and `<!-- end -->` in the place of what stands there.

    Raises:
        ValueError: the document has no such mark.
    """
    text, mark = doc.read_text(), f"<!-- {name} -->"
    start = text.index(mark) + len(mark)
    end = text.index("<!-- end -->", start)
    doc.write_text("\n".join([text[:start], "", *lines, "", text[end:]]))
