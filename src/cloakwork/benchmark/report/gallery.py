"""The report's pictures: per photo set what was learned from and what the thief got, as many as
fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from cloakwork.benchmark import grids
from cloakwork.benchmark.report import leaderboard, thumbnails
from cloakwork.benchmark.report.thumbnails import InlineImage
from cloakwork.benchmark.report.wording import count, join_names
from cloakwork.benchmark.results import Results
from cloakwork.evaluation.design import Subject, ThreatModel
from cloakwork.evaluation.steps import Workspace

AROUND = 120  # bytes of markup round a picture


@dataclass(frozen=True)
class Strip:
    """A line's pictures of one photo set."""

    protection: str
    photos: tuple[InlineImage, ...]
    loot: tuple[InlineImage, ...]
    missing: tuple[str, ...]
    """what the store does not hold"""

    @property
    def size(self) -> int:
        """Bytes in the page, about."""
        return sum(
            len(s.uri) + len(s.alt) + len(s.title) + AROUND for s in (*self.photos, *self.loot)
        )


@dataclass(frozen=True)
class PhotoStrip:
    """One photo set of one table."""

    table: str
    name: str
    thief: str
    strips: tuple[Strip, ...]


@dataclass(frozen=True)
class Gallery:
    """All that is shown."""

    sets: tuple[PhotoStrip, ...] = ()
    said: tuple[str, ...] = ()
    """what was left out, and why, in sentences"""


def gallery(findings: Results, grid: grids.Grid, workspace: Workspace, room: int) -> Gallery:
    """Photo sets of all tables in turns until the room (bytes) is used up; a set that is begun is
    shown line by line.
    """
    found, used, left = [], 0, []
    lines = {table.name: list(grids.lines(table)) for table in grid.tables}
    for table, index in _turns(grid):
        strips = []
        for strip in (
            _strips(findings, table, lines[table.name], index, workspace) if used < room else ()
        ):
            if used + strip.size > room:
                used = room
                break
            used += strip.size
            strips.append(strip)
        name = table.subjects[index].name
        if strips:
            found.append(PhotoStrip(table.name, name, table.thieves[0].name, tuple(strips)))
        if len(strips) < len(lines[table.name]):
            left.append(
                f"{name} ({count(len(lines[table.name]) - len(strips), 'row')} of {table.name})"
            )
    said = [f"To keep the file small these are left out: {join_names(left)}."] if left else []
    return Gallery(
        tuple(sorted(found, key=lambda s: [t.name for t in grid.tables].index(s.table))),
        tuple(said),
    )


def _turns(grid: grids.Grid) -> Iterator[tuple[grids.Table, int]]:
    """The first photo set of every table, then the second of every table ..."""
    for turn in zip_longest(
        *([(table, i) for i in range(len(table.subjects))] for table in grid.tables)
    ):
        yield from (pair for pair in turn if pair)


def _strips(
    findings: Results,
    table: grids.Table,
    lines: Sequence[grids.Line],
    index: int,
    workspace: Workspace,
) -> Iterator[Strip]:
    for line in lines:
        subject = line.subjects[index]
        yield _strip(line, subject, _thieves(findings, table, line), workspace)


def _thieves(findings: Results, table: grids.Table, line: grids.Line) -> Sequence[ThreatModel]:
    """The table's first, and the one who gets most from this line where that is another."""
    found = next((t for t in findings.tables if t.name == table.name), None)
    worst = leaderboard.strongest(
        c
        for c in (found.cells if found else ())
        if c.protection == line.protection and c.metric == table.metrics[0]
    )
    others = [t for t in table.thieves[1:] if worst and t.name == worst.thief]
    return table.thieves[:1] + tuple(others)


def _strip(
    line: grids.Line, subject: Subject, thieves: Sequence[ThreatModel], workspace: Workspace
) -> Strip:
    before, after = (
        thumbnails.photos(subject.clean, workspace),
        thumbnails.learned(line, subject, workspace),
    )
    missing, loot = [], []
    photos = (
        tuple(thumbnails.photo_shots(line, subject, after[0], before[0]))
        if before and after
        else ()
    )
    if not photos:
        missing.append("the photos")
    for thief in thieves:
        stolen = thumbnails.loot(line, subject, thief, workspace)
        loot += thumbnails.loot_shots(line, subject, thief, stolen) if stolen is not None else []
        missing += [f"what {thief.name} got"] if stolen is None else []
    return Strip(line.protection, photos, tuple(loot), tuple(missing))
