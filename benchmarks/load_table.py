"""The table of docs/serve.md, from results/load.json."""

from __future__ import annotations

import json
from pathlib import Path

from finding_tables import head, line


def load(results: Path) -> list[str]:
    """A line for each number of clients, then what it was measured with."""
    made = json.loads((results / "load.json").read_text())
    columns = ["clients", "photos a minute", "p50, s", "p99, s", "CPU s a photo", "memory, MB"]
    rows = [
        line(
            [
                str(row["clients"]),
                f"{row['photos_a_minute']:.0f}",
                f"{row['p50']:.2f}",
                f"{row['p99']:.2f}",
                f"{row['cpu_seconds']:.2f}",
                f"{row['megabytes']} (after {row['photos_so_far']} photos)",
            ]
        )
        for row in made["rows"]
    ]
    return [
        *head(columns),
        *rows,
        "",
        f"`{made['protection']}`, {made['workers']} workers on {made['cores']} cores, photos of "
        f"{made['side']} x {made['side']} pixels, {made['rows'][0]['photos']} for each number of "
        f"clients. Memory at the start: {made['megabytes_at_start']} MB.",
    ]


TABLES = {"load": (("load.json",), load)}
