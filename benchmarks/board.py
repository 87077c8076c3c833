"""The board's entries, from what was measured: board/ anew from results/tiny/.

Run: python benchmarks/board.py

There is one for every protection of the package and for every preset and ensemble that was
measured. Settings that are no preset have none. The page is made from them by
`cloakwork bench board --entries board/`.
"""

from __future__ import annotations

from pathlib import Path

import docs

from cloakwork import registry
from cloakwork.benchmark.board import folder, make
from cloakwork.benchmark.board.entry import Entry, Spent
from cloakwork.benchmark.grids import CONTROLS
from cloakwork.benchmark.report import write
from cloakwork.files import COSTS, read_json

BOARD = Path("board")
# findings from before they named VERSIONs (November 2026): those of the methods then
UNNAMED = {"cloakwork": 2}


def costs() -> dict[str, Spent]:
    """What protections take by costs.json, where seconds were measured; a preset other than tiny is
    named."""
    return {
        name if preset == "tiny" else f"{name}:{preset}": Spent(
            cell["cpu_seconds"], cell["photos"], cell.get("threads"), cell.get("peak_memory_mb")
        )
        for name, presets in read_json(COSTS)["cells"].items()
        for preset, cell in presets.items()
        if "cpu_seconds" in cell
    }


def entries(results: Path = docs.RESULTS) -> list[Entry]:
    """All entries."""
    found = [write.read(path) for path in sorted(results.glob("*.json"))]
    words = [p for r in found for t in r.tables for p in t.protections if "=" not in p]
    package = [name for name, _ in registry.listing("protections")]
    methods = [*CONTROLS, *package, *(w for w in words if w.partition(" ")[0] not in CONTROLS)]
    return make.entries(found, methods, costs=costs(), unnamed=UNNAMED)


if __name__ == "__main__":
    for file in folder.write(entries(), BOARD, sweep=True):
        print(file)
