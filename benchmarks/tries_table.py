"""The table of `try` in docs/try-and-mine.md, from results/try.json."""

from __future__ import annotations

import json
from pathlib import Path

from finding_tables import head, line


def tries(results: Path) -> list[str]:
    """A line for each purifier, a column for each encoder: what is left, and how many times what is
    left of noise that is; then what it costs.
    """
    made = json.loads((results / "try.json").read_text())
    by = {(row["after"], row["encoder"]): row for row in made["rows"]}
    afters, encoders = (list(dict.fromkeys(part)) for part in zip(*by, strict=True))

    def cell(after: str, encoder: str) -> str:
        row = by[after, encoder]
        return f"{row['protected']:.2f} ({row['left']:.0%}), {row['times_noise']:.1f} x"

    costs = ", ".join(
        f"{row['cpu_seconds']:g} s at {row['short_side']} px (seen at {row['size']})"
        for row in made["sizes"]
    )
    sides = made["short_sides"]
    return [
        *head(["after", *encoders]),
        *(line([after, *(cell(after, encoder) for encoder in encoders)]) for after in afters),
        "",
        f"n = {made['photos']} photos of {min(sides)} to {max(sides)} px (short side). "
        f"CPU seconds a photo: {made['cpu_seconds']:g}"
        + (f". A sample photo at other sizes: {costs}." if costs else "."),
    ]


TABLES = {"try": (("try.json",), tries)}
