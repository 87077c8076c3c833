"""The tables of displacement in docs/findings.md, from results/."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import mean
from typing import Any

from finding_tables import head, line, span


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


def zero_shot(results: Path) -> list[str]:
    """A line for each of what a person's photos were compared with: how far a face's and CLIP's
    embedding are from the photos' own, and by how much farther than after random noise.
    """
    rows = json.loads((results / "zero_shot.json").read_text())["rows"]

    def cells(row: dict[str, Any], which: str) -> list[str]:
        beyond = row["beyond_noise"].get(which)
        return [span(row["mean"][which], 2), span(beyond, 2) if beyond else ""]

    lines = [line([row["partner"], *cells(row, "face"), *cells(row, "clip")]) for row in rows]
    return [
        *head(["the photo beside", "face", "beyond noise", "CLIP", "beyond noise"]),
        *lines,
    ]


TABLES = {
    "displacement": (("displacement.json",), displacement),
    "zero shot": (("zero_shot.json",), zero_shot),
}
