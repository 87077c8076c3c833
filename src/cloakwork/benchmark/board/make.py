"""Entries of the board from what benchmarks found."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cloakwork import registry, specs
from cloakwork.benchmark.board import judged
from cloakwork.benchmark.board.citation import citation
from cloakwork.benchmark.board.entry import (
    FORMAT,
    Change,
    Entry,
    Gap,
    Interval,
    Measured,
    ReportedNumber,
    Spent,
)
from cloakwork.benchmark.recipes import _reported
from cloakwork.benchmark.report.leaderboard import control, known
from cloakwork.benchmark.results import Cell, Results, TableResults, beats_both
from cloakwork.evaluation.statistics import Estimate
from cloakwork.files import SHORT_DIGEST, hash_of
from cloakwork.photos.rounding import WORK_SIDE

DIGITS = 4  # after the point
SURROGATE = "tiny"  # of findings that do not name the table's own
Versions = Mapping[str, int]


def entries(
    found: Iterable[Results],
    methods: Iterable[str],
    *,
    costs: Mapping[str, Spent] | None = None,
    unnamed: Versions | None = None,
) -> list[Entry]:
    """Return the board's entries of some protections.

    Args:
        found: of one benchmark or several.
        methods: protections as recipes write them; one without results has an empty entry.
        costs: protection -> what it takes; those of the findings themselves go before.
        unnamed: method -> its VERSION in findings that name none.
    """
    found = list(found)
    return [
        _entry(word, found, (costs or {}).get(word), unnamed or {})
        for word in dict.fromkeys(methods)
    ]


def _entry(word: str, found: Sequence[Results], cost: Spent | None, unnamed: Versions) -> Entry:
    name = word.partition("@")[0]
    module = specs.module("protections", name)
    authors, paper = citation(module)
    measured, is_control = _measured(word, found, unnamed), control(word)
    return Entry(
        FORMAT,
        word,
        module.VERSION,
        is_control,
        registry.summary(module.__doc__),
        authors,
        paper,
        _reported_numbers(name.partition(":")[0], paper.arxiv if paper else "") or None,
        measured,
        judged.worst(measured),
        _change(word, found, unnamed),
        next(filter(None, (_spent(name, results) for results in found)), cost),
        judged.flags(measured, module.VERSION, control=is_control),
        judged.unreliable(measured),
    )


def _measured(word: str, found: Sequence[Results], unnamed: Versions) -> tuple[Measured, ...]:
    """Return all that was measured of a protection, by the first metric of each table; what was
    measured twice, with most people and seeds.
    """
    by_recipe: dict[tuple[str, int], Measured] = {}
    for results in found:
        for table in results.tables:
            for cell in table.cells:
                if cell.metric == table.metrics[0] and _row(cell.protection) == word:
                    one = _measurement(cell, table, results, unnamed)
                    place = one.recipe, one.version
                    by_recipe[place] = max(by_recipe.get(place, one), one, key=_size)
    return tuple(
        sorted(
            by_recipe.values(),
            key=lambda m: (m.table, m.budget, bool(m.purifiers), m.threat, m.version),
        )
    )


def _size(measured: Measured) -> tuple[int, int]:
    return measured.people, measured.seeds


def _row(protection: str) -> str:
    """Return what a line of a table is of; noise of any budget is noise.

    >>> _row("noise 8 faint"), _row("pid")
    ('noise', 'pid')
    """
    return protection.partition(" ")[0] if control(protection) else protection


def _measurement(cell: Cell, table: TableResults, results: Results, unnamed: Versions) -> Measured:
    made, row = results.made.get("tables", {}).get(table.name, {}), _row(cell.protection)
    version, source = _version(row, results, unnamed)
    threat = next((t for t in made.get("thieves", ()) if t.get("label") == cell.threat_model), {})
    side = made.get("side") or WORK_SIDE
    clean, noise = _gap(cell.against_clean), _gap(cell.against_noise)
    return Measured(
        cell.threat_model,
        cell.attacker,
        cell.purifiers,
        _model(cell.victim),
        cell.budget,
        cell.metric,
        cell.better,  # type: ignore[arg-type] - a metric has one of the three
        _interval(cell.mean),
        clean,
        noise,
        len(table.subjects),
        table.seeds,
        cell.mean.pictures if cell.mean else 0,
        side,
        version,
        beats_both(cell.better, clean, noise),
        tuple(cell.flags),
        cell.failed,
        _made(results),
        table.name,
        _recipe(cell, made, threat, results, f"{version} {source}".strip(), side),
        hash_of(made.get("photos", {}))[:SHORT_DIGEST],
    )


def _recipe(
    cell: Cell,
    made: Mapping[str, Any],
    threat: Mapping[str, Any],
    results: Results,
    code: str,
    side: int,
) -> str:
    """Return the hash of what a cell is the result of, but for photos and seeds."""
    attacker = threat.get("attacker", cell.attacker)
    config = attacker["config"] if isinstance(attacker, dict) else threat.get("config")
    versions = results.made.get("methods", {})
    return hash_of(
        {
            "protection": [_row(cell.protection), code, cell.budget],
            "config": made.get("protections", {}).get(cell.protection),
            "surrogates compute in": made.get("dtype") or "float32",
            "attacker": [cell.attacker, config, _number(versions, f"attack {cell.attacker}", 1)],
            "threat": [threat.get(k) for k in ("prompts", "clean_share", "dtype")],
            "purifiers": cell.purifiers,
            "victim": _model(cell.victim),
            "weights": _weights(cell, made, results),
            "metric": cell.metric,
            "side": side,
        }
    )[:SHORT_DIGEST]


def _weights(cell: Cell, made: Mapping[str, Any], results: Results) -> dict[str, str]:
    """Return the weights of the victim and of the models that a protection was computed against."""
    _, at, named = _row(cell.protection).partition("@")
    surrogates = named.split("+") if at else made.get("surrogates", [SURROGATE])
    known = results.made.get("weights", {})
    return {_model(m): known[m] for m in sorted({cell.victim, *surrogates}) if m in known}


def _version(row: str, results: Results, unnamed: Versions) -> tuple[int, str]:
    """Return the VERSION with which a row was measured, and the hash of a foreign module's
    source.
    """
    name = row.partition("@")[0].partition(":")[0]
    said = results.made.get("methods", {})
    source = re.search(r"source (\w+)", said.get(f"protect {name}", ""))
    return _number(said, f"protect {name}", unnamed.get(name, 1)), source[1] if source else ""


def _number(said: Mapping[str, str], method: str, otherwise: int) -> int:
    """Return the VERSION that findings name.

    >>> _number({"protect pid": "VERSION 3, source 0ab1"}, "protect pid", 1)
    3
    """
    found = re.match(r"VERSION (\d+)", said.get(method, ""))
    return int(found[1]) if found else otherwise


def _made(results: Results) -> str:
    """Say with what findings were made, and when."""
    around = results.made.get("surroundings", {})
    version = around.get("packages", {}).get("cloakwork", "")
    last = results.made.get("dates", {}).get("last step", "").partition("T")[0]
    told = (f"cloakwork {version}" * bool(version), around.get("device", ""), last)
    return ", ".join(filter(None, told))


def _model(name: str) -> str:
    """Return a model's name; of a folder or file of one machine, its last part alone.

    >>> _model("/home/me/models/sd"), _model("CompVis/stable-diffusion-v1-4")
    ('sd', 'CompVis/stable-diffusion-v1-4')
    """
    path = Path(name)
    return path.name if path.is_absolute() or path.exists() else name


def _change(word: str, found: Sequence[Results], unnamed: Versions) -> Change | None:
    """Return how visible a protection is, at the board's budget where that was measured, then with
    most people, then at the photos' own size.
    """
    changes = []
    for results in found:
        for table in results.tables:
            budgets = {c.budget for c in table.cells if c.protection == word}
            if (by := table.stealth.get(word)) and budgets:
                made = results.made.get("tables", {}).get(table.name, {})
                lpips, psnr, ssim, linf = (
                    _interval(by.get(m)) for m in ("lpips", "psnr", "ssim", "linf")
                )
                version, _ = _version(word, results, unnamed)
                change = Change(
                    lpips, psnr, ssim, linf, budgets.pop(), len(table.subjects), version
                )
                place = change.budget == judged.BUDGET, change.people, made.get("side") or WORK_SIDE
                changes.append((place, change))
    return max(changes, key=lambda pair: pair[0])[1] if changes else None


def _spent(name: str, results: Results) -> Spent | None:
    """Return what the steps of a protection took, by the findings' own records."""
    tables = results.made.get("tables", {}).values()
    sizes = [len(p["learned"]) for t in tables for p in t.get("photos", {}).values()]
    threads = results.made.get("surroundings", {}).get("threads")
    for cost in results.costs:
        if (cost.kind, cost.name) == ("protect", name.partition(":")[0]) and sizes:
            mean = round(sum(sizes) / len(sizes))
            return Spent(round(cost.cpu_seconds / cost.steps, 2), mean, threads, None)
    return None


def _reported_numbers(name: str, arxiv: str) -> tuple[ReportedNumber, ...]:
    """Return all numbers that papers give for a method, its own paper's first."""
    numbers = [
        ReportedNumber(
            e.metric,
            e.number.value,
            e.protection,
            e.threat_model,
            e.budget,
            e.number.model,
            e.number.source,
            bool(arxiv) and arxiv in e.number.source,
            e.number.note,
        )
        for e in _reported.entries()
        if e.protection.partition("@")[0].partition(":")[0] == name
    ]
    return tuple(sorted(numbers, key=lambda n: not n.own))


def _interval(estimate: Estimate | None) -> Interval | None:
    if estimate is None or not known(estimate):
        return None
    return Interval(*(round(x, DIGITS) for x in (estimate.mean, estimate.low, estimate.high)))


def _gap(estimate: Estimate | None) -> Gap | None:
    interval = _interval(estimate)
    if estimate is None or interval is None:
        return None
    p = estimate.p if estimate.p is None or math.isfinite(estimate.p) else None
    return Gap(interval.mean, interval.low, interval.high, p)
