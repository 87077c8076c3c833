"""The tables of docs/faithful.md, from what faithful.py found; docs.py writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from finding_tables import head, line, short


def photos(results: Path) -> list[str]:
    """A line for each statement of a method that changes photos."""
    rows = [r for r in _rows(results) if "within" in r]
    lines = [
        line([*_about(r), _percent(r["within"]), _levels(r["largest"]), _cost(r), r["differs"]])
        for r in rows
    ]
    return [*head([*ABOUT, "pixels within 1/255", "largest, 1/255", COST, OTHERWISE]), *lines]


def weights(results: Path) -> list[str]:
    """A line for each statement of a training."""
    rows = [r for r in _rows(results) if "loop_signs" in r]
    lines = [
        line([*_about(r), _percent(r["loop_signs"]), f"{r['loop_relative']:.1g}", _cost(r)])
        for r in rows
    ]
    return [*head([*ABOUT, "moved alike", "relative, of the way", COST]), *lines]


ABOUT = ["method", "VERSION", "release", "signs equal", "relative difference"]
COST = "CPU s, ours / stated"
OTHERWISE = "what the package means to do otherwise"


def _about(row: dict[str, Any]) -> list[str]:
    name = row["method"] + ", as released" * bool(row["differs"])
    numbers = [_percent(row["signs"]), f"{row['relative']:.1g}"]
    return [name, str(row["version"]), row["release"], *numbers]


def _percent(share: float) -> str:
    """Rounded down, so that 100 % is all.

    >>> _percent(0.99999), _percent(1)
    ('99.99 %', '100 %')
    """
    return "100 %" if share == 1 else f"{int(10_000 * share) / 100:.2f} %"


def _cost(row: dict[str, Any]) -> str:
    ours, theirs = row["our_seconds"], row["stated_seconds"]
    return f"{ours:.2f} / {theirs:.2f} = {short(ours / theirs, 2)}"


def _levels(apart: float) -> str:
    return f"{apart:.1f}" if apart > 0.05 else "0.0"


def _rows(results: Path) -> list[dict[str, Any]]:
    return json.loads((results / "faithful.json").read_text())["rows"]


TABLES = {
    "photos": (("faithful.json",), photos),
    "weights": (("faithful.json",), weights),
}
