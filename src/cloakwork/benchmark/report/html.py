"""The report as one HTML file that asks nothing of any network."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloakwork import templates
from cloakwork.benchmark.report import charts, leaderboard, wording
from cloakwork.benchmark.report.gallery import Gallery
from cloakwork.benchmark.results import Cell, Results, TableResults

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"
SHORT = 300  # letters that need not be folded away
LONGEST = 20_000  # letters of one entry of how it was made; all of it is in findings.json


@dataclass(frozen=True)
class Board:
    """A leaderboard as the page shows it."""

    attacker: str
    about: str
    """what the attacker does"""
    rows: list[leaderboard.LeaderboardRow]
    low: float
    high: float
    """ends of the bars"""
    reasons: dict[str, int]
    """why numbers are missing -> number of the note"""
    lacks: dict[str, str]
    """why numbers are missing -> failed or unscored"""
    flags: bool
    """whether some rows have any that not all have"""
    reported: bool


@dataclass(frozen=True)
class Part:
    """One table of the grid as the page shows it."""

    id: str
    results: TableResults
    sentences: list[str]
    everywhere: list[str]
    """kinds of flags that all cells have"""
    better: dict[str, str]
    units: dict[str, str]
    boards: list[Board]
    worst: list[leaderboard.WorstCase]
    heat: str
    stealth: str
    less_visible: dict[str, str]
    """metric of stealth -> which way is less visible"""


def parts(findings: Results) -> list[Part]:
    """Return the tables as the page shows them, with their figures, which take a while to draw."""
    return [_part(table, f"table-{i + 1}") for i, table in enumerate(findings.tables)]


def page(findings: Results, drawn: Sequence[Part], gallery: Gallery, beside: Sequence[str]) -> str:
    """Return the report.

    Args:
        findings: of a whole grid.
        drawn: its `parts`.
        gallery: pictures.
        beside: names of the files that lie beside it, relative to it.
    """
    flags = wording.grouped(findings.flags)
    return fill(
        "report.html.j2",
        "report",
        findings=findings,
        parts=drawn,
        gallery=gallery,
        beside=list(beside),
        made=_made(findings.made),
        flags=flags,
        victims=wording.victims(findings),
        verdicts=leaderboard.VERDICTS,
        columns=_columns(findings),
        ids={kind: f"flag-{i + 1}" for i, kind in enumerate(flags)},
    )


def fill(template: str, *names: str, **values: Any) -> str:
    """Fill a template, with the NAME.css and NAME.js of each name inside it and a policy that lets
    it run that script and load nothing.
    """
    from markupsafe import Markup

    style, script = (
        "".join((TEMPLATES / f"{n}.{ending}").read_text(encoding="utf-8") for n in names)
        for ending in ("css", "js")
    )
    policy = templates.policy(script, "data:")
    common = (TEMPLATES / "common.css").read_text(encoding="utf-8")
    template_ = environment().get_template(template)
    return template_.render(
        **values, style=Markup(common + style), script=Markup(script), policy=Markup(policy)
    )


def environment() -> Environment:
    """Return the report's templates, with the functions and filters that they use."""
    from markupsafe import Markup

    env = templates.environment(TEMPLATES)
    env.globals |= {
        "known": leaderboard.known,
        "bar": charts.bar,
        "is_control": leaderboard.control,
        "svg": Markup,
    }
    filters = (
        wording.number,
        wording.interval,
        wording.safer,
        wording.count,
        wording.seconds,
        wording.join_names,
        wording.sample_size,
    )
    env.filters |= {f.__name__: f for f in filters} | {
        "p": wording.p_value,
        "meaning": wording.flag_meaning,
        "breakable": _breakable,
    }
    return env


def _breakable(name: str) -> Markup:
    """Return a name that a page breaks where its words end, before it breaks any word."""
    from markupsafe import Markup

    return Markup("<wbr>").join(re.split(r"(?<=[_\-:,.+])", name))


def _part(table: TableResults, name: str) -> Part:
    first = [c for c in table.cells if c.metric == table.metrics[0]]
    low, high = leaderboard.axis_range(c.mean for c in first if c.mean)
    worst = leaderboard.worst_cases(table)
    everywhere = (
        [kind for kind in table.cells[0].flags if all(kind in c.flags for c in table.cells)]
        if table.cells
        else []
    )
    first_of = {c.metric: c for c in table.cells}
    return Part(
        name,
        table,
        list(wording.verdicts(table)),
        everywhere,
        {m: c.better for m, c in first_of.items()},
        {m: c.unit for m, c in first_of.items()},
        [_board(table, attacker, low, high, everywhere) for attacker in table.threat_models],
        worst,
        charts.heat(table, f"{name}-heat") if any(w.worst for w in worst) else "",
        charts.stealth(table, f"{name}-stealth"),
        wording.stealth(table),
    )


def _board(
    table: TableResults, attacker: str, low: float, high: float, everywhere: Sequence[str]
) -> Board:
    cells = [c for c in table.cells if c.threat_model == attacker]
    reasons = {
        reason: i + 1 for i, reason in enumerate(dict.fromkeys(c.failed for c in cells if c.failed))
    }
    about = _circumstances(cells[0]) if cells else "nothing was measured"
    return Board(
        attacker,
        about,
        leaderboard.leaderboard(table, attacker),
        low,
        high,
        reasons,
        {c.failed: c.status for c in cells if c.failed},
        any(set(c.flags) - set(everywhere) for c in cells),
        any(c.reported for c in cells),
    )


def _circumstances(cell: Cell) -> str:
    first = (
        f"runs photos through {cell.purifiers.replace('+', ', then ')}, then "
        if cell.purifiers
        else ""
    )
    return f"{first}{cell.attacker} on {cell.victim}"


def _columns(findings: Results) -> dict[str, tuple[str, str]]:
    """Return metric -> what it is, which way is safer; the metrics of tables, then those of
    stealth.
    """
    better = {c.metric: c.better for t in findings.tables for c in t.cells}
    columns = {m: (wording.about_metric(m), wording.safer(b)) for m, b in better.items()}
    return columns | {
        m: (wording.about_metric(m), f"{way} is less visible")
        for table in findings.tables
        for m, way in wording.stealth(table).items()
    }


def _made(made: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, bool]]:
    """Yield name, content, and whether it is long, of all that is known of how it was made."""
    for name, value in made.items():
        if isinstance(value, Mapping) and any(isinstance(v, Mapping) for v in value.values()):
            yield from _made(value, f"{path}{name} / ")
            continue
        text = _text(value)
        cut = (
            text
            if len(text) <= LONGEST
            else text[:LONGEST] + "\n... (the rest is in findings.json)"
        )
        yield f"{path}{name}", cut, len(text) > SHORT or "\n" in text


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        flat = ", ".join(f"{k} {v}" for k, v in value.items())
        if len(flat) <= SHORT and not any(isinstance(v, list | tuple) for v in value.values()):
            return flat
    return json.dumps(value, indent=1, default=str, ensure_ascii=False)
