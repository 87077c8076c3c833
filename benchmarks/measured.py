"""What the package knows of its protections' effects: the verdicts of the tables in results/tiny/.

Run: python benchmarks/measured.py

It writes the package's assets/measured.json, from which `cloakwork protect` tells at its end what
was measured and not found, and what was never measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import docs

from cloakwork.benchmark.report.leaderboard import control
from cloakwork.benchmark.results import Cell, TableResults
from cloakwork.files import write_json
from cloakwork.workflows.effect_notes import MEASURED

# the likeness of things that runs offline shows neither that they are protected nor that they are
# not; the others are of attackers with other habits, of purifiers that one protection alone has
# met, and of a setting that is no preset
LEFT_OUT = (
    "things",
    "mismatch",
    "other purifiers",
    "switches",
    "class pictures of aspl",
)
# it learns no face from clean photos either, so there is nothing to protect from it
NO_ATTACKER = ("textual inversion",)


def measured(tables: dict[str, TableResults]) -> list[dict[str, Any]]:
    """Each protection and budget with its attackers, and whether each was found to do worse; where
    tables share an attacker, by the one with most photo sets, then seeds, then where it was not."""
    found: dict[tuple[str, float], dict[str, Cell]] = {}
    for name, table in tables.items():
        for cell in () if name in LEFT_OUT else docs.leading(table).values():
            if control(cell.protection) or cell.works is None or cell.threat_model in NO_ATTACKER:
                continue
            cells = found.setdefault((cell.protection, cell.budget), {})
            both = (cell, cells.get(cell.threat_model, cell))
            cells[cell.threat_model] = max(both, key=lambda c: (*_size(c), not c.works))
    return [
        {
            "protection": protection,
            "budget": budget,
            "people": min(_size(cell)[0] for cell in cells.values()),
            "attackers": [
                {
                    "attacker": name,
                    "people": _size(cell)[0],
                    "seeds": _size(cell)[1],
                    "works": cell.works,
                }
                for name, cell in sorted(cells.items())
            ],
        }
        for (protection, budget), cells in sorted(found.items())
    ]


def _size(cell: Cell) -> tuple[int, int]:
    """Photo sets and seeds of a cell."""
    return (cell.against_clean.sets, cell.against_clean.seeds) if cell.against_clean else (0, 0)


def content(folder: Path = docs.RESULTS) -> dict[str, Any]:
    """All of the asset."""
    return {
        "about": "Made by benchmarks/measured.py. works: the attacker does worse than on clean "
        "photos and than on noise of the same budget, both 95 % intervals beyond 0.",
        "victim": "tiny",
        "measured": measured(docs.kept(folder)),
    }


if __name__ == "__main__":
    write_json(MEASURED, content())
    print(MEASURED)
