"""Numbers that papers report, for the cells of their recipes: reported.json, in this package's
units.

The file is a list of blocks, each a table of a paper or a part of one:

    recipe, table, dataset   where the numbers belong: a recipe's table; the data set, where there
                             are several
    paper, where             where they are from
    model                    what they were measured on
    provenance               where they were read, and how sure that is
    note                     how their circumstances differ from the recipe's
    columns                  what the paper calls a measure; `metric`, ours (null: there is none
                             here, and the column is kept for the record alone); our number =
                             offset + scale * theirs (0 and 1 where they are left out)
    rows                     protection as the recipe writes it, the attacker's label ("" for the
                             protected photos themselves, before any attacker), budget in 1/255,
                             and the numbers, as printed (null: not known)
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from cloakwork.benchmark.results import Cell, Reported, Results

FILE = Path(__file__).with_name("reported.json")


@dataclass(frozen=True)
class Entry:
    """One number of a paper, and the cell that it belongs to."""

    recipe: str
    table: str
    dataset: str
    """"" where the paper has one alone"""
    protection: str
    threat_model: str
    """the attacker's label; "" for the protected photos themselves"""
    metric: str
    budget: float
    """1/255"""
    number: Reported
    """in this package's unit"""


def reported(
    recipe: str, table: str, protection: str, attacker: str, metric: str
) -> tuple[Reported, ...]:
    """Return what papers report for a cell.

    Numbers are of all data sets that the paper has, where the table is not called after one.

    Args:
        recipe: name of the grid.
        table: its table's name.
        protection: as the recipe writes it. Which models stand behind an @ does not matter, but how
            many.
        attacker: its label; "" for how protected photos differ from their originals.
        metric: with or without settings.
    """
    wanted = recipe, _plain(protection), attacker, metric.partition(":")[0]
    return tuple(
        e.number for e in _cells().get(wanted, ()) if table in (e.table, f"{e.table}, {e.dataset}")
    )


def add_reported(findings: Results) -> Results:
    """Return the findings with what papers report beside every cell of theirs.

    Findings of other recipes stay as they are.
    """

    def with_reported(cell: Cell) -> Cell:
        return replace(
            cell,
            reported=reported(
                findings.name, cell.table, cell.protection, cell.threat_model, cell.metric
            ),
        )

    tables = (
        replace(table, cells=tuple(with_reported(cell) for cell in table.cells))
        for table in findings.tables
    )
    return replace(findings, tables=tuple(tables))


@cache
def entries() -> tuple[Entry, ...]:
    """Return all numbers that there is a metric for."""
    return tuple(
        e for block in json.loads(FILE.read_text(encoding="utf-8")) for e in _entries(block)
    )


@cache
def _cells() -> dict[tuple[str, str, str, str], list[Entry]]:
    """Return the entries by recipe, protection without names of models, attacker and metric."""
    cells: dict[tuple[str, str, str, str], list[Entry]] = {}
    for e in entries():
        cells.setdefault((e.recipe, _plain(e.protection), e.threat_model, e.metric), []).append(e)
    return cells


def _entries(block: dict[str, Any]) -> list[Entry]:
    """Return the entries of a block, in this package's units."""
    source = ", ".join(part for part in (block["paper"], block["where"], block["dataset"]) if part)
    note = " ".join(part for part in (block["note"], block["provenance"]) if part)
    return [
        Entry(
            block["recipe"],
            block["table"],
            block["dataset"],
            protection,
            attacker,
            column["metric"],
            budget,
            Reported(
                _in_our_unit(value, column), f"{source} ({column['called']})", block["model"], note
            ),
        )
        for protection, attacker, budget, values in block["rows"]
        for column, value in zip(block["columns"], values, strict=True)
        if column["metric"] and value is not None
    ]


def _in_our_unit(value: float, column: dict[str, Any]) -> float:
    """Convert a paper's number to this package's unit.

    >>> _in_our_unit(0.33, {"offset": 1, "scale": -1})
    0.67
    """
    return round(column.get("offset", 0) + column.get("scale", 1) * value, 6)


def _plain(protection: str) -> str:
    """Return a protection without the names of its models, which may be the user's folders.

    >>> _plain("aspl:paper@a+b"), _plain("aspl:paper")
    ('aspl:paper@2', 'aspl:paper')
    """
    word, at, models = protection.partition("@")
    return f"{word}@{models.count('+') + 1}" if at else word
