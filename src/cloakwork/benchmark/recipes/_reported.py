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
    here, and the column is kept for
                             the record alone); our number = offset + scale * theirs (0 and 1 where
                             they are left out)
    rows                     protection as the recipe writes it, the thief's label ("" for the
    protected photos themselves, before
                             any thief), budget in 1/255, and the numbers, as printed (null: not
                             known)
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
    thief: str
    """"" for the protected photos themselves"""
    metric: str
    budget: float
    """1/255"""
    number: Reported
    """in this package's unit"""


def reported(
    recipe: str, table: str, protection: str, thief: str, metric: str
) -> tuple[Reported, ...]:
    """What papers report for a cell; of all data sets that the paper has, where the table is not
    called after one of them.

    Args:
        recipe: name of the grid.
        table: its table's name.
        protection: as the recipe writes it. Which models stand behind an @ does not matter, but how
            many.
        thief: its label; "" for how protected photos differ from their originals.
        metric: with or without settings.
    """
    wanted = recipe, _plain(protection), thief, metric.partition(":")[0]
    return tuple(
        e.number for e in _cells().get(wanted, ()) if table in (e.table, f"{e.table}, {e.dataset}")
    )


def beside(findings: Results) -> Results:
    """The findings with what papers report beside every cell of theirs; those of other recipes as
    they are.
    """

    def known(cell: Cell) -> Cell:
        return replace(
            cell,
            reported=reported(findings.name, cell.table, cell.protection, cell.thief, cell.metric),
        )

    tables = (
        replace(table, cells=tuple(known(cell) for cell in table.cells))
        for table in findings.tables
    )
    return replace(findings, tables=tuple(tables))


@cache
def entries() -> tuple[Entry, ...]:
    """All numbers that there is a metric for."""
    return tuple(
        e for block in json.loads(FILE.read_text(encoding="utf-8")) for e in _entries(block)
    )


@cache
def _cells() -> dict[tuple[str, str, str, str], list[Entry]]:
    found: dict[tuple[str, str, str, str], list[Entry]] = {}
    for e in entries():
        found.setdefault((e.recipe, _plain(e.protection), e.thief, e.metric), []).append(e)
    return found


def _entries(block: dict[str, Any]) -> list[Entry]:
    source = ", ".join(part for part in (block["paper"], block["where"], block["dataset"]) if part)
    note = " ".join(part for part in (block["note"], block["provenance"]) if part)
    return [
        Entry(
            block["recipe"],
            block["table"],
            block["dataset"],
            protection,
            thief,
            column["metric"],
            budget,
            Reported(_ours(value, column), f"{source} ({column['called']})", block["model"], note),
        )
        for protection, thief, budget, values in block["rows"]
        for column, value in zip(block["columns"], values, strict=True)
        if column["metric"] and value is not None
    ]


def _ours(value: float, column: dict[str, Any]) -> float:
    return round(column.get("offset", 0) + column.get("scale", 1) * value, 6)


def _plain(protection: str) -> str:
    """Without the names of models, which may be anybody's folders."""
    word, at, models = protection.partition("@")
    return f"{word}@{models.count('+') + 1}" if at else word
