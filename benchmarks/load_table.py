"""The table of docs/serve.md, from results/load.json."""

from __future__ import annotations

import json
from pathlib import Path

from finding_tables import head, line


def load(results: Path) -> list[str]:
    """A line for each protection and number of clients, then what they were measured with."""
    found = json.loads((results / "load.json").read_text())
    columns = [
        "protection",
        "clients",
        "photos a minute",
        "p50, s",
        "p99, s",
        "CPU s a photo",
        "memory, MB",
    ]
    rows = [
        line(
            [
                f"`{protection}`",
                str(row["clients"]),
                f"{row['photos_a_minute']:.0f}",
                f"{row['p50']:.2f}",
                f"{row['p99']:.2f}",
                f"{row['cpu_seconds']:.2f}",
                f"{row['megabytes']} (after {row['photos_so_far']} photos)",
            ]
        )
        for protection, made in found.items()
        for row in made["rows"]
    ]
    conditions = [
        f"`{protection}`: {made['workers']} workers on {made['cores']} cores, photos of "
        f"{made['side']} x {made['side']} pixels, {made['rows'][0]['photos']} for each number of "
        f"clients, {made['megabytes_at_start']} MB at the start."
        for protection, made in found.items()
    ]
    return [*head(columns), *rows, "", *conditions]


TABLES = {"load": (("load.json",), load)}
