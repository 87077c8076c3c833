"""The table of patterns that were taken off again, from results/blind.json."""

from __future__ import annotations

import json
from pathlib import Path

from finding_tables import head, line


def blind(results: Path) -> list[str]:
    """A line for each size and pattern, a column for each purifier: median, least and most."""
    rows = json.loads((results / "blind.json").read_text())["rows"]
    by = {(row["size"], row["pattern"], row["purifier"]): row for row in rows}
    purifiers = list(dict.fromkeys(row["purifier"] for row in rows))

    def cell(size: int, pattern: str, purifier: str) -> str:
        least, middle, most = by[size, pattern, purifier]["left"]
        return f"{middle:.0%} ({least:.0%} to {most:.0%})"

    lines = head(["short side", "pattern", *purifiers])
    for size, pattern in dict.fromkeys((row["size"], row["pattern"]) for row in rows):
        cells = (cell(size, pattern, purifier) for purifier in purifiers)
        lines.append(line([f"{size} px", pattern, *cells]))
    counts = {row["pattern"]: row["patterns"] for row in rows}
    of = ", ".join(f"{n} of {pattern}" for pattern, n in counts.items())
    return [*lines, "", f"n = {rows[0]['photos']} photos; patterns: {of}."]


TABLES = {"blind": (("blind.json",), blind)}
