"""The checks behind the flags: each yields those of a kind, with the cells that they are about."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from cloakwork import specs
from cloakwork.benchmark.collect import Missing, scores_of
from cloakwork.benchmark.execution.failures import Failure
from cloakwork.benchmark.grids import Line, Table
from cloakwork.benchmark.results import Cell, Flag, TableResults, beats_both, strongest
from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.design import MIN_CLEAN_MATCH_RATE, PROTECTED, ThreatModel
from cloakwork.evaluation.statistics import FEWEST_SETS, Estimate, difference
from cloakwork.evaluation.steps import Step, Workspace


@dataclass(frozen=True)
class TableContext:
    """One table: what was asked for, what came out, and where its steps' results are."""

    table: Table
    results: TableResults
    lines: tuple[Line, ...]
    workspace: Workspace
    failures: Mapping[str, Failure] = field(default_factory=dict)
    """names of results that could not be made, and why"""

    def flag(self, kind: str, text: str, *cells: Cell) -> tuple[Flag, Sequence[Cell]]:
        """Return a flag with the cells that it is about; none: the whole table."""
        names = dict.fromkeys(" / ".join((c.protection, c.threat_model)) for c in cells)
        where = f"{self.results.name}: {', '.join(names) or 'all'}"
        return Flag(kind, where, text), cells or self.results.cells


FlaggedCells = Iterator[tuple[Flag, Sequence[Cell]]]


def failed(case: TableContext) -> FlaggedCells:
    """Yield cells without a number, by the reason."""
    reasons: dict[tuple[str, str], list[Cell]] = {}
    for cell in case.results.cells:
        if cell.failed:
            reasons.setdefault((cell.status, cell.failed), []).append(cell)
    for (kind, reason), cells in reasons.items():
        count = f"{len(cells)} cell{'s' * (len(cells) > 1)}"
        yield case.flag(kind, f"{count} without a number: {reason}", *cells)


def attacker_fails(case: TableContext) -> FlaggedCells:
    """Yield attackers who do not get the subject from clean photos, beyond chance, nor from any
    others, where a metric counts how often they do.

    Not those who fail only because of their purifiers: others without them do get it.
    """
    matches = [c for c in case.results.cells if c.metric == "match" and c.mean]
    gets = {c.threat_model for c in matches if c.mean and c.mean.mean >= MIN_CLEAN_MATCH_RATE}
    plain = {t.name: _unpurified(case, t) for t in case.table.threat_models if t.purifiers}
    for cell in matches:
        if not cell.mean or cell.protection != "none" or cell.threat_model in gets:
            continue
        without = plain.get(cell.threat_model)
        if cell.mean.high < MIN_CLEAN_MATCH_RATE and not (without and without.name in gets):
            cells = [c for c in case.results.cells if c.threat_model == cell.threat_model]
            rate = (
                f"{cell.threat_model} matches {_spread(cell.mean)} of its pictures on clean photos"
            )
            text = f"{rate}, less than {MIN_CLEAN_MATCH_RATE}: nothing is shown."
            yield case.flag("attacker fails", text, *cells)


def budget_zero(case: TableContext) -> FlaggedCells:
    """Yield protections at a budget of 0, which must leave the attacker exactly what clean photos
    do.
    """
    for cell in case.results.cells:
        gap = cell.against_clean
        if (
            cell.protection != "none"
            and cell.budget == 0
            and gap
            and any((gap.mean, gap.low, gap.high))
        ):
            text = f"{cell.protection} with a budget of 0 changes {cell.metric} by "
            text += f"{gap.mean:+.3g}: the runs are not comparable."
            yield case.flag("budget 0", text, cell)


def over_budget(case: TableContext) -> FlaggedCells:
    """Yield protected photos, as they are saved, that differ from their originals by more than the
    budget.
    """
    for line, change in _changes(case):
        if change > line.budget:
            text = f"{line.protection} changes a pixel by {change}/255, "
            text += f"and its budget is {line.budget:g}."
            yield case.flag("over budget", text, *_cells(case, line))


def no_gradient(case: TableContext) -> FlaggedCells:
    """Yield protections that moved nothing, or whose gradient was not finite or zero."""
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
            text = f"{line.protection} changed no pixel at a budget of {line.budget:g}."
            yield case.flag("no gradient", text, *_cells(case, line))
    for cell in case.results.cells:
        if cell.failed and _not_finite(case, cell):
            yield case.flag("no gradient", f"{cell.protection}: {cell.failed}", cell)


def harmful_purifier(case: TableContext) -> FlaggedCells:
    """Yield purifiers that take from an attacker of clean photos, beyond chance, at least what they
    give one of protected photos.
    """
    for who, metric in _others(case):
        if not who.purifiers or not (plain := _unpurified(case, who)):
            continue
        clean = _gain(case, case.lines[0], who, plain, metric)
        for line in case.lines:
            gain = _gain(case, line, who, plain, metric) if line.arm == PROTECTED else None
            if gain and clean and clean.high < 0 and -clean.mean >= gain.mean:
                text = f"{who.name} changes {metric} by {_spread(clean)} on clean photos and by "
                text += f"{_spread(gain)} on those under {line.protection} "
                text += "(+: more for the attacker)."
                yield case.flag("harmful purifier", text, *_cells(case, line, who))


def adaptive_attacker(case: TableContext) -> FlaggedCells:
    """Yield attackers who get more from protected photos than the table's first one does, beyond
    chance for one such comparison.
    """
    standard, others = case.table.threat_models[0], len(case.table.threat_models) - 1
    caution = _caution(others, "that were tried")
    for who, metric in _others(case):
        for line in case.lines:
            if line.arm != PROTECTED:
                continue
            more = _gain(case, line, who, standard, metric)
            if more and more.low > 0:
                text = f"By {metric}, {who.name} does better by {_spread(more)} "
                text += f"on {line.protection} than {standard.name}.{caution}"
                yield case.flag("adaptive attacker", text, *_cells(case, line, who))


def helps_the_attacker(case: TableContext) -> FlaggedCells:
    """Yield protections from which an attacker gets more than from clean photos, beyond chance for
    one such comparison, by the table's first metric.
    """
    protections = {line.protection for line in case.lines if line.arm == PROTECTED}
    compared = [
        c
        for c in case.results.cells
        if c.protection in protections and c.metric == case.table.metrics[0] and c.better
    ]
    caution = _caution(len(compared), "comparisons")
    for cell in compared:
        gap = cell.against_clean
        if gap and (gap.low > 0 if cell.better == "higher" else gap.high < 0):
            text = f"{cell.protection} changes {cell.metric} by {_spread(gap)} against clean "
            text += f"photos, to the good of {cell.threat_model}.{caution}"
            yield case.flag("helps the attacker", text, cell)


def worst_within_noise(case: TableContext) -> FlaggedCells:
    """Yield protections whose worst case over purifiers, by the table's first metric, is not shown
    to be less than random noise that went the same way.
    """
    for line in case.lines:
        if line.arm != PROTECTED:
            continue
        first = (c for c in _cells(case, line) if c.metric == case.table.metrics[0])
        worst = strongest(c for c in first if c.purifiers)
        gap = worst and worst.against_noise
        if worst and gap and beats_both(worst.better, gap, gap) is False:
            text = f"{worst.threat_model} gets most from {line.protection}, and by {worst.metric} "
            text += "it is not shown to be less than from random noise that went the same way: "
            yield case.flag("worst case within noise", f"{text}{_spread(gap)}.", worst)


def few_photo_sets(case: TableContext) -> FlaggedCells:
    """Yield tables whose intervals rest on too few photo sets."""
    if (n := len(case.table.subjects)) < FEWEST_SETS:
        text = f"{n} photo set{'s' * (n > 1)}, fewer than {FEWEST_SETS}: indicative only."
        yield case.flag("few photo sets", text)


CHECKS: tuple[Callable[[TableContext], FlaggedCells], ...] = (
    failed,
    attacker_fails,
    budget_zero,
    over_budget,
    no_gradient,
    harmful_purifier,
    adaptive_attacker,
    helps_the_attacker,
    worst_within_noise,
    few_photo_sets,
)


def _spread(gap: Estimate) -> str:
    """Write a number with its interval.

    >>> _spread(Estimate(-0.25, -0.5, 0.125, 6, 1, 6))
    '-0.25 [-0.5, 0.125]'
    """
    return f"{gap.mean:.3g} [{gap.low:.3g}, {gap.high:.3g}]"


def _caution(number: int, of: str) -> str:
    """Return a sentence, with a space before it, on what is one of so many; "" for the only one.

    >>> _caution(1, "comparisons")
    ''
    """
    few = number <= 1
    return "" if few else f" It is one of {number} {of}; of so many some would seem to by chance."


def _cells(case: TableContext, line: Line, who: ThreatModel | None = None) -> list[Cell]:
    """Return the cells of a line, of one attacker or of all."""
    cells = [c for c in case.results.cells if c.protection == line.protection]
    return [c for c in cells if who is None or c.threat_model == who.name]


def _not_finite(case: TableContext, cell: Cell) -> bool:
    """Return whether a cell has no number because a loss or a gradient was not finite."""
    line = next(x for x in case.lines if x.protection == cell.protection)
    who = next(t for t in case.table.threat_models if t.name == cell.threat_model)
    scores = scores_of(line, who, cell.metric, case.table.seeds, case.workspace, case.failures)
    return isinstance(scores, Missing) and scores.kind == "not_finite"


def _changes(case: TableContext) -> Iterator[tuple[Line, int]]:
    """Yield each protection with the largest change that it made in a pixel, 1/255, where its
    photos are there.
    """
    for line in case.lines:
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
    """Yield all attackers but the first with the table's first metric, if that has a better side.

    Not by one that compares with originals: each attacker's pictures are compared with its own of
    clean photos then.
    """
    metric = case.table.metrics[0]
    module = specs.module("metrics", metric)
    if module.METRIC.better and module.METRIC.reference != "originals":
        yield from product(case.table.threat_models[1:], [metric])


def _unpurified(case: TableContext, who: ThreatModel) -> ThreatModel | None:
    """Return the attacker who does the same without purifiers."""
    same = replace(who, purifiers=(), label="")
    return next((t for t in case.table.threat_models if replace(t, label="") == same), None)


def _gain(
    case: TableContext, line: Line, who: ThreatModel, than: ThreatModel, metric: str
) -> Estimate | None:
    """Estimate what an attacker gets from the same photos beyond what another gets, paired; + is
    better for the attacker.
    """
    a, b = (scores_of(line, t, metric, case.table.seeds, case.workspace) for t in (who, than))
    if isinstance(a, Missing) or isinstance(b, Missing):
        return None
    higher = specs.module("metrics", metric).METRIC.better == "higher"
    return difference(a, b) if higher else difference(b, a)
