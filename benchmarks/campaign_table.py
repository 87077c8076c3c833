"""The table of the campaign in docs/reliability.md, from results/campaign.json."""

from __future__ import annotations

import json
from pathlib import Path

from finding_tables import head, line


def campaign(results: Path) -> list[str]:
    """A line for each part: its cases, what became of them, and faults."""
    rows = []
    for name, counts in json.loads((results / "campaign.json").read_text())["counts"].items():
        faults = {k: n for k, n in counts.items() if k.startswith("FAULT")}
        ends = sorted((n, k) for k, n in counts.items() if k not in faults)
        words = ", ".join(f"{n:,} {k}" for n, k in reversed(ends))
        told = ", ".join(f"{n} {k.removeprefix('FAULT: ')}" for k, n in sorted(faults.items()))
        rows.append(line([name, f"{sum(counts.values()):,}", words, told or "none"]))
    return [*head(["part", "cases", "what became of them", "faults"]), *rows]


TABLES = {"campaign": (("campaign.json",), campaign)}
