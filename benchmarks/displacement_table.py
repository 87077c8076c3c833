"""The table of displacement in docs/findings.md, from results/displacement.json."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean

from finding_tables import head, line


def displacement(results: Path) -> list[str]:
    """A line for each size and what photos were made on: displacement under every teacher, the mean
    over photos and over the sizes at which a loader shows them, and LPIPS.
    """
    rows = json.loads((results / "displacement.json").read_text())["rows"]
    seen_by = list(rows[0]["moved"])
    lines = [
        line(
            [
                f"{row['size']} px",
                row["made_on"],
                *(f"{mean(map(mean, row['moved'][name].values())):.2f}" for name in seen_by),
                f"{mean(row['lpips']):.3f}",
            ]
        )
        for row in rows
    ]
    return [*head(["photos", "made on", *(f"seen by {name}" for name in seen_by), "LPIPS"]), *lines]


TABLES = {"displacement": (("displacement.json",), displacement)}
