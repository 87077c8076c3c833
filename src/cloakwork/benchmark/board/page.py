"""The board as one HTML file that asks nothing of any network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cloakwork.benchmark.board import judged
from cloakwork.benchmark.board.entry import Entry, Measured, file_name
from cloakwork.benchmark.report import html
from cloakwork.benchmark.report.wording import count, join_names, number
from cloakwork.files import atomic_write


@dataclass(frozen=True)
class Row:
    """An entry as the table shows it."""

    entry: Entry
    id: str
    main: Measured | None
    edit: Measured | None
    purifiers: int
    """of how many purifiers the worst case is the worst"""
    ranked: bool
    """whether it can be compared with the others"""
    variant: bool
    """whether it is a preset or an ensemble of a method"""

    @property
    def kinds(self) -> str:
        """What the page's filter knows it by."""
        worst = self.entry.worst
        named = {
            "control": self.entry.control,
            "holds": self.main is not None and bool(self.main.works),
            "purified": worst is not None,
            "variant": self.variant,
            "unranked": not self.ranked and not self.entry.control,
        }
        return " ".join(kind for kind, has in named.items() if has)


def write(entries: Sequence[Entry], file: Path) -> None:
    """Write the page; it appears whole or not at all."""
    with atomic_write(file) as part:
        part.write_text(page(entries), encoding="utf-8")


def page(entries: Sequence[Entry]) -> str:
    """Return the page of some entries."""
    table = rows(entries)
    flags = {kind for e in entries for kind in e.flags}
    flags |= {kind for e in entries for m in e.measured for kind in m.flags}
    return html.fill(
        "board.html.j2",
        "report",
        "board",
        rows=table,
        answers=[best(table), purified(table)],
        flags={kind: text for kind, text in judged.KINDS.items() if kind in flags},
        victims=sorted({m.victim for e in entries for m in e.measured}),
        main=judged.MAIN,
        edit=judged.EDIT,
        budget=judged.BUDGET,
        metric=judged.METRIC,
    )


def rows(entries: Iterable[Entry]) -> list[Row]:
    """Return the table's rows: controls, then those that can be compared, best first, then the
    others.
    """
    return sorted(map(_row, entries), key=_place)


def _row(entry: Entry) -> Row:
    stands_for = judged.main(entry.measured)
    comparable = stands_for is not None and judged.comparable(stands_for)
    return Row(
        entry,
        "entry-" + file_name(entry.method).removesuffix(".json"),
        stands_for,
        judged.edit(entry.measured),
        judged.purifiers(entry.measured),
        comparable and not entry.unreliable and not entry.control,
        ":" in entry.method or "@" in entry.method,
    )


def _place(row: Row) -> tuple[bool, bool, bool, float]:
    score = row.main.score.mean if row.main and row.main.score else 2.0
    return not row.entry.control, not row.ranked, row.entry.unreliable is not None, score


@dataclass(frozen=True)
class Answer:
    """What a reader wants to know first."""

    heading: str
    text: str
    good: bool


def best(table: Sequence[Row]) -> Answer:
    """Say which protection leaves least to an attacker who does not purify, and who is too near it
    to be told apart.
    """
    ranked = [
        (row.entry.method, row.main, row.main.score)
        for row in table
        if row.ranked and row.main and row.main.score and row.main.works
    ]
    if not ranked:
        return Answer(
            "No protection was shown to help",
            "None leaves an attacker less than clean photos and than noise of the same budget do.",
            False,
        )
    (first, main, score), *others = ranked
    clean, noise = (
        _share(score.mean - gap.mean) for gap in (main.against_clean, main.against_noise) if gap
    )
    told = [
        f"{_share(score.mean)} of its pictures show the person; {clean} from clean photos, "
        f"{noise} from noise."
    ]
    if near := [method for method, _, other in others if other.mean <= score.high]:
        told.append(
            f"{main.people} people cannot rank it against {join_names(near)}: they lie within its "
            "interval."
        )
    return Answer(f"Before purifiers, {first} leaves an attacker least", " ".join(told), True)


def purified(table: Sequence[Row]) -> Answer:
    """Say what is left of protections after the worst purifier."""
    tried = [
        (row.entry, row.entry.worst)
        for row in table
        if row.entry.worst and not (row.entry.control or row.entry.unreliable)
    ]
    tried = [(e, w) for e, w in tried if w.budget == judged.BUDGET]
    if not tried:
        return Answer(
            "After purifiers: not known",
            "No protection was tried against attackers who purify.",
            False,
        )
    holding = [e.method for e, w in tried if w.works]
    _, least = min(tried, key=lambda pair: pair[1].score.mean)
    clean = f", where clean photos give {_share(least.clean)}" if least.clean is not None else ""
    told = (
        f"Of {count(len(tried), 'protection')} that were tried, {join_names(holding)} "
        f"leave{'s' * (len(holding) < 2)} less than clean photos and than noise do. "
        f"The attacker gets {_share(least.score.mean)} or more{clean}."
    )
    heading = (
        "After the worst purifier, none is shown to hold"
        if not holding
        else "After the worst purifier"
    )
    return Answer(heading, told, bool(holding))


def _share(value: float) -> str:
    return number(value, "share")
