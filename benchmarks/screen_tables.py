"""The screen's tables of docs/red-team.md, from what screen.py found; docs.py writes them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

from finding_tables import head, line


def mean(found: list[dict[str, Any]], column: str) -> float:
    """Over people, each the mean of its photos."""
    return fmean(fmean(r[column]) for r in found)


def screen(results: Path, column: str, harm: str | None = None) -> list[str]:
    """Purifiers by protections, those that leave least at the top; in brackets: of how many people,
    where not of all."""
    found = json.loads((results / "screen.json").read_text())["rows"]
    protections, everyone = (
        list(dict.fromkeys(r["protection"] for r in found)),
        len({r["person"] for r in found}),
    )
    lines: list[tuple[float, str]] = []
    for word in dict.fromkeys(r["purifier"] for r in found):
        of = {
            p: [r for r in found if (r["purifier"], r["protection"]) == (word, p)]
            for p in protections
        }
        cells = {
            p: f"{mean(some, column):.2f}" + f" ({len(some)})" * (len(some) < everyone)
            for p, some in of.items()
            if some
        }
        # once a person: some protections were screened of fewer
        people = {r["person"]: r for some in of.values() for r in reversed(some)}
        clean = [f"{mean(list(people.values()), harm):.3f}"] if harm else []
        order = fmean(mean(some, column) for some in of.values() if some)
        lines.append((order, line([word, *clean, *(cells.get(p, "") for p in protections)])))
    return [
        *head(["purifier", *(["clean photos"] if harm else []), *protections]),
        *(row for _, row in sorted(lines)),
    ]


def costs(results: Path) -> list[str]:
    """Purifiers, the cheapest first: median over people."""
    taken = {
        word: median(s)
        for word, s in json.loads((results / "purifying.json").read_text())["seconds"].items()
    }
    cheapest = sorted(taken.items(), key=lambda item: item[1])
    return [
        *head(["purifier", "CPU seconds a photo"]),
        *(line([word, f"{s:.2g}"]) for word, s in cheapest),
    ]


# name -> files in results/, and what makes the table of them
TABLES: dict[str, tuple[tuple[str, ...], Callable[[Path], list[str]]]] = {
    "screen left": (("screen.json",), partial(screen, column="left")),
    "screen off": (("screen.json",), partial(screen, column="off", harm="harm")),
    "screen lpips": (("screen.json",), partial(screen, column="lpips", harm="lpips_harm")),
    "screen cost": (("purifying.json",), costs),
}
