"""The benchmark's distrust of itself: what makes a cell doubtful, said beside it.

Every kind of flag has a function that yields it; KINDS says in a few words what each means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

from cloakwork import specs
from cloakwork.benchmark.grids import Grid, Line, Table, lines
from cloakwork.benchmark.results import Cell, Flag, Missing, Results, TableResults, scores_of
from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.design import MIN_CLEAN_MATCH_RATE, PROTECTED, ThreatModel
from cloakwork.evaluation.intervals import FEWEST_SETS, Estimate, difference
from cloakwork.evaluation.steps import Step, Workspace

FLAG_KINDS = {
    "failed": "a step failed, so a number is missing",
    "unscored": "a metric cannot score the pictures",
    "thief fails": "the thief fails on clean photos already, so there is nothing to protect from",
    "budget 0": "a protection with a budget of 0 is not the same as none",
    "over budget": "a protected photo differs from its original by more than the budget",
    "no gradient": "the protection's gradient was zero or not a number, or it changed nothing",
    "harmful purifier": "a purifier costs the thief as much on clean photos as it gains on protected ones",
    "adaptive thief": "a thief who does something about the protection gets more than the standard one",
    "few photo sets": f"fewer than {FEWEST_SETS} photo sets: indicative only",
}


@dataclass(frozen=True)
class TableContext:
    """One table: what was asked for, what was found, and where its steps' results are."""

    table: Table
    found: TableResults
    rows: tuple[Line, ...]
    workspace: Workspace

    def flag(self, kind: str, text: str, *where: Cell) -> tuple[Flag, Sequence[Cell]]:
        """A flag with the cells that it is about; none: the whole table."""
        said = ", ".join(dict.fromkeys(" / ".join((c.protection, c.thief)) for c in where)) or "all"
        return Flag(kind, f"{self.found.name}: {said}", text), where or self.found.cells


Found = Iterator[tuple[Flag, Sequence[Cell]]]


def add_flags(findings: Results, grid: Grid, workspace: Workspace) -> Results:
    """The findings with the flags that they deserve: in all, and beside every cell that one is
    about.
    """
    flags, tables = [], []
    for table, found in zip(grid.tables, findings.tables, strict=True):
        case, kinds = TableContext(table, found, tuple(lines(table)), workspace), {}
        for flag, where in (pair for one in CHECKS for pair in one(case)):
            flags.append(flag)
            for cell in where:
                kinds.setdefault(id(cell), []).append(flag.kind)
        cells = tuple(
            replace(c, flags=tuple(dict.fromkeys(kinds.get(id(c), ())))) for c in found.cells
        )
        tables.append(replace(found, cells=cells))
    return replace(findings, tables=tuple(tables), flags=tuple(dict.fromkeys(flags)))


def failed(case: TableContext) -> Found:
    """Cells without a number, by the reason."""
    reasons: dict[tuple[str, str], list[Cell]] = {}
    for cell in case.found.cells:
        if cell.failed:
            reasons.setdefault((cell.status, cell.failed), []).append(cell)
    for (kind, reason), cells in reasons.items():
        yield case.flag(
            kind, f"{len(cells)} cell{'s' * (len(cells) > 1)} without a number: {reason}", *cells
        )


def thief_fails(case: TableContext) -> Found:
    """Thieves who do not get the subject from clean photos, where a metric counts how often they
    do.
    """
    for cell in case.found.cells:
        if (
            cell.metric == "match"
            and cell.protection == "none"
            and cell.mean
            and cell.mean.mean < MIN_CLEAN_MATCH_RATE
        ):
            cells = [c for c in case.found.cells if c.thief == cell.thief]
            rate = f"{cell.thief} matches {cell.mean.mean:.2f} of its pictures on clean photos"
            text = f"{rate}, less than {MIN_CLEAN_MATCH_RATE}: nothing is shown."
            yield case.flag("thief fails", text, *cells)


def budget_zero(case: TableContext) -> Found:
    """Protections at a budget of 0, which must leave the thief exactly what clean photos do."""
    for cell in case.found.cells:
        gap = cell.against_clean
        if (
            cell.protection != "none"
            and cell.budget == 0
            and gap
            and any((gap.mean, gap.low, gap.high))
        ):
            text = f"{cell.protection} with a budget of 0 changes {cell.metric} by {gap.mean:+.3g}: the runs are not comparable."
            yield case.flag("budget 0", text, cell)


def over_budget(case: TableContext) -> Found:
    """Protected photos, as they are saved, that differ from their originals by more than the
    budget.
    """
    for line, change in _changes(case):
        if change > line.budget:
            text = f"{line.protection} changes a pixel by {change}/255, and its budget is {line.budget:g}."
            yield case.flag("over budget", text, *_cells(case, line))


def no_gradient(case: TableContext) -> Found:
    """Protections that moved nothing, or whose gradient was not finite or zero."""
    for line, change in _changes(case):
        made = [s.protected for s in line.subjects if isinstance(s.protected, Step)]
        dead = sum(
            case.workspace.results.record(steps.name_of(step, case.workspace)).get("dead_steps", 0)
            for step in made
        )
        if dead:
            text = f"{line.protection} had a gradient of zero in {dead} of its PGD steps."
            yield case.flag("no gradient", text, *_cells(case, line))
        elif change == 0 < line.budget and line.protection != "none":
            yield case.flag(
                "no gradient",
                f"{line.protection} changed no pixel at a budget of {line.budget:g}.",
                *_cells(case, line),
            )
    for cell in case.found.cells:
        if "not finite" in cell.failed:
            yield case.flag("no gradient", f"{cell.protection}: {cell.failed}", cell)


def harmful_purifier(case: TableContext) -> Found:
    """Purifiers that take from a thief of clean photos what they give a thief of protected ones."""
    for who, metric in _others(case):
        if not who.purifiers or not (plain := _unpurified(case, who)):
            continue
        clean = _gain(case, case.rows[0], who, plain, metric)
        for line in case.rows:
            gain = _gain(case, line, who, plain, metric) if line.arm == PROTECTED else None
            if gain and clean and -clean.mean >= max(gain.mean, 1e-9):
                text = f"{who.name} changes {metric} by {clean.mean:+.3g} on clean photos and by {gain.mean:+.3g} on those under "
                text += f"{line.protection} (+: more for the thief)."
                yield case.flag(
                    "harmful purifier",
                    text,
                    *(c for c in _cells(case, line) if c.thief == who.name),
                )


def adaptive_thief(case: TableContext) -> Found:
    """Thieves who get more from protected photos than the table's first one does, beyond chance for
    one such comparison.
    """
    others = len(case.table.thieves) - 1
    many = (
        f" It is one of {others} that were tried; of so many some would seem to by chance."
        if others > 1
        else ""
    )
    for who, metric in _others(case):
        for line in case.rows:
            more = (
                _gain(case, line, who, case.table.thieves[0], metric)
                if line.arm == PROTECTED
                else None
            )
            if more and more.low > 0:
                text = f"By {metric}, {who.name} does better by {more.mean:.3g} [{more.low:.3g}, {more.high:.3g}] on "
                text += f"{line.protection} than {case.table.thieves[0].name}.{many}"
                yield case.flag(
                    "adaptive thief", text, *(c for c in _cells(case, line) if c.thief == who.name)
                )


def few_photo_sets(case: TableContext) -> Found:
    """Tables whose intervals rest on too few photo sets."""
    if (n := len(case.table.subjects)) < FEWEST_SETS:
        yield case.flag(
            "few photo sets",
            f"{n} photo set{'s' * (n > 1)}, fewer than {FEWEST_SETS}: indicative only.",
        )


CHECKS: tuple[Callable[[TableContext], Found], ...] = (
    failed,
    thief_fails,
    budget_zero,
    over_budget,
    no_gradient,
    harmful_purifier,
    adaptive_thief,
    few_photo_sets,
)


def _cells(case: TableContext, line: Line) -> list[Cell]:
    return [c for c in case.found.cells if c.protection == line.protection]


def _changes(case: TableContext) -> Iterator[tuple[Line, int]]:
    """Each protection with the largest change that it made in a pixel, 1/255, where its photos are
    there.
    """
    for line in case.rows:
        made = [
            s
            for s in line.subjects
            if isinstance(s.protected, Step) and steps.cached(s.protected, case.workspace)
        ]
        pairs = [
            pair
            for s in made
            for pair in zip(
                *(compute.photos(p, case.workspace) for p in (s.protected, s.clean)), strict=True
            )
        ]
        if line.arm == PROTECTED and pairs:
            yield line, max(round((a - b).abs().max().item() * 255) for a, b in pairs)


def _others(case: TableContext) -> Iterator[tuple[ThreatModel, str]]:
    """Thieves but the first, by the first metric, if more or less of it is better for them.

    Not by one that compares with originals: each thief's pictures are compared with its own of
    clean photos then.
    """
    metric = case.table.metrics[0]
    module = specs.module("metrics", metric)
    if module.BETTER and module.REFERENCE != "originals":
        yield from product(case.table.thieves[1:], [metric])


def _unpurified(case: TableContext, who: ThreatModel) -> ThreatModel | None:
    """The thief who does the same without purifiers."""
    same = replace(who, purifiers=(), label="")
    return next((t for t in case.table.thieves if replace(t, label="") == same), None)


def _gain(
    case: TableContext, line: Line, who: ThreatModel, than: ThreatModel, metric: str
) -> Estimate | None:
    """What a thief gets from the same photos beyond what another gets, paired; + is better for the
    thief.
    """
    a, b = (scores_of(line, t, metric, case.table.seeds, case.workspace) for t in (who, than))
    if isinstance(a, Missing) or isinstance(b, Missing):
        return None
    return (
        difference(a, b) if specs.module("metrics", metric).BETTER == "higher" else difference(b, a)
    )
