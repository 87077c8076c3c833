"""The report's pictures: per photo set what was learned from and what the attacker got, as many as
fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from cloakwork.benchmark import grids
from cloakwork.benchmark.report import thumbnails
from cloakwork.benchmark.report.thumbnails import InlineImage
from cloakwork.benchmark.report.wording import count, join_names
from cloakwork.benchmark.results import Results, strongest
from cloakwork.evaluation.design import Subject, ThreatModel
from cloakwork.evaluation.steps import Workspace

AROUND = 120  # bytes of markup round a picture


@dataclass(frozen=True)
class Strip:
    """A line's pictures of one photo set."""

    protection: str
    photos: tuple[InlineImage, ...]
    attack_images: tuple[InlineImage, ...]
    missing: tuple[str, ...]
    """what the store does not hold"""

    @property
    def size(self) -> int:
        """Return the bytes in the page, about."""
        shown = (*self.photos, *self.attack_images)
        return sum(len(i.uri) + len(i.alt) + len(i.title) + AROUND for i in shown)


@dataclass(frozen=True)
class PhotoStrip:
    """One photo set of one table."""

    table: str
    name: str
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class Gallery:
    """All that is shown."""

    sets: tuple[PhotoStrip, ...] = ()
    notes: tuple[str, ...] = ()
    """what was left out, and why, in sentences"""


def gallery(findings: Results, grid: grids.Grid, workspace: Workspace, room: int) -> Gallery:
    """Take photo sets of all tables in turns until the room (bytes) is used up; show a set that is
    begun line by line.
    """
    sets, used, left_out = [], 0, []
    lines = {table.name: list(grids.lines(table)) for table in grid.tables}
    for table, index in _turns(grid):
        strips, name = [], table.subjects[index].name
        for line in lines[table.name]:
            if used >= room:
                break
            attackers = _attackers(findings, table, line)
            strip = _strip(line, line.subjects[index], attackers, workspace)
            if used + strip.size > room:
                used = room
                break
            used += strip.size
            strips.append(strip)
        if strips:
            sets.append(PhotoStrip(table.name, name, tuple(strips)))
        if rest := len(lines[table.name]) - len(strips):
            left_out.append(f"{name} ({count(rest, 'row')} of {table.name})")
    notes = [f"To keep the file small these are left out: {join_names(left_out)}."]
    order = [table.name for table in grid.tables]
    return Gallery(
        tuple(sorted(sets, key=lambda s: order.index(s.table))),
        tuple(notes if left_out else ()),
    )


def _turns(grid: grids.Grid) -> Iterator[tuple[grids.Table, int]]:
    """Yield the first photo set of every table, then the second of every table, and so on."""
    for turn in zip_longest(
        *([(table, i) for i in range(len(table.subjects))] for table in grid.tables)
    ):
        yield from (pair for pair in turn if pair)


def _attackers(findings: Results, table: grids.Table, line: grids.Line) -> Sequence[ThreatModel]:
    """Return the table's first, and the one who gets most from this line where that is another."""
    results = next((t for t in findings.tables if t.name == table.name), None)
    worst = strongest(
        c
        for c in (results.cells if results else ())
        if c.protection == line.protection and c.metric == table.metrics[0]
    )
    others = [t for t in table.threat_models[1:] if worst and t.name == worst.threat_model]
    return table.threat_models[:1] + tuple(others)


def _strip(
    line: grids.Line, subject: Subject, attackers: Sequence[ThreatModel], workspace: Workspace
) -> Strip:
    before = thumbnails.photos(subject.clean, workspace)
    after = thumbnails.line_photos(line, subject, workspace)
    photos: list[InlineImage] = []
    attack_images: list[InlineImage] = []
    missing = []
    if before and after:
        photos += thumbnails.inline_photos(line, subject, after[0], before[0])
    else:
        missing.append("the photos")
    for attacker in attackers:
        if purified := thumbnails.purified_photos(line, subject, attacker, workspace):
            attack_images.append(thumbnails.inline_purified(subject, attacker, purified[0]))
        images = thumbnails.attack_images(line, subject, attacker, workspace)
        if images is None:
            missing.append(f"what {attacker.name} got")
        else:
            attack_images += thumbnails.inline_attack_images(line, subject, attacker, images)
    return Strip(line.protection, tuple(photos), tuple(attack_images), tuple(missing))
