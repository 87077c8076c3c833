"""The table of looks in docs/protections.md, from results/looks.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from finding_tables import head, line, short

from cloakwork.metrics.noticed import word


def looks(results: Path) -> list[str]:
    """A line for each budget and strength, a column for each picture."""
    rows = json.loads((results / "looks.json").read_text())["rows"]
    pictures = list(dict.fromkeys(row["picture"] for row in rows))
    by: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        uniform = row["strength"] == "uniform"
        look = f"{row['budget']:g} everywhere" if uniform else f"`{row['strength']}`"
        by.setdefault(look, {})[row["picture"]] = row
    return [
        *head(["budget", *pictures]),
        *(line([look, *(_cell(found[p]) for p in pictures)]) for look, found in by.items()),
    ]


def _cell(row: dict[str, Any]) -> str:
    """LPIPS, DISTS where it was measured, and how visible that is, in a word."""
    numbers = [short(row[m]) for m in ("lpips", "dists") if m in row]
    return f"{', '.join(numbers)}: {word(row['noticed'])}"


TABLES = {"looks": (("looks.json",), looks)}
