"""What an entry's measurements say together: its main number, its worst case, its flags."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cloakwork.benchmark.board.entry import Measured, Worst
from cloakwork.benchmark.flags import FLAG_KINDS
from cloakwork.benchmark.recipes.board import BUDGET
from cloakwork.benchmark.recipes.tiny import SDEDITS, TRANSFORMED
from cloakwork.evaluation.statistics import FEWEST_SETS

METRIC = "match"
# the attacker that every protection is tried against
MAIN = TRANSFORMED.name
EDIT = SDEDITS[-1].name
NO_BETTER_THAN_CLEAN, NO_BETTER_THAN_NOISE = "no better than clean", "no better than noise"
GONE, NEVER_PURIFIED, OLDER = (
    "gone after a purifier",
    "never tried after a purifier",
    "older VERSION",
)
KINDS = FLAG_KINDS | {
    NO_BETTER_THAN_CLEAN: "the attacker gets what clean photos give it, as far as can be told",
    NO_BETTER_THAN_NOISE: "the attacker gets what random noise of the same budget leaves it, as "
    "far as can be told",
    GONE: "after the worst purifier the protection leaves no less than clean photos or than "
    "noise, as far as can be told",
    NEVER_PURIFIED: "no attacker who purifies photos first was tried",
    OLDER: "the main number was measured with an older VERSION of the method",
}


def doubts(measured: Measured) -> list[str]:
    """Return which of the controls a protection is no better than, as far as can be told."""
    gaps = {
        NO_BETTER_THAN_CLEAN: measured.against_clean,
        NO_BETTER_THAN_NOISE: measured.against_noise,
    }
    if measured.works is not False:
        return []
    higher = measured.better == "higher"
    return [k for k, g in gaps.items() if g and (g.high >= 0 if higher else g.low <= 0)]


def comparable(measured: Measured) -> bool:
    """Return whether a measurement is by the board's attacker, budget and metric."""
    same = measured.budget in (0, BUDGET) and measured.metric == METRIC
    return same and measured.threat == MAIN


def main(measured: Iterable[Measured]) -> Measured | None:
    """Return the measurement that an entry stands for: the comparable one with most people, else
    that by which an attacker who does not purify gets most; None where there is none.
    """

    def place(m: Measured) -> tuple[bool, bool, int, int, int, float]:
        most = m.score.mean if m.score else 0.0
        return comparable(m), m.metric == METRIC, m.people, m.version, m.seeds, most

    return max(_learned(measured, purified=False), key=place, default=None)


def edit(measured: Iterable[Measured]) -> Measured | None:
    """Return the measurement of the board's editor; None where there is none."""
    edits = (m for m in measured if m.score and m.threat == EDIT and m.budget in (0, BUDGET))
    return max(edits, key=lambda m: m.people, default=None)


def worst(measured: Iterable[Measured]) -> Worst | None:
    """Return the worst case over purifiers, that by which the attacker gets most."""
    among = _purified(measured)
    if not among:
        return None
    most = max(among, key=lambda m: m.score.mean if m.score else 0.0)
    if most.score is None:
        return None
    clean, noise = (
        round(most.score.mean - gap.mean, 4) if gap else None
        for gap in (most.against_clean, most.against_noise)
    )
    return Worst(
        most.threat,
        most.purifiers,
        most.score,
        clean,
        noise,
        len({m.threat for m in among}),
        most.people,
        most.budget,
        most.version,
        # where clean photos give much, a higher share may be shown to be less, and a lower one not
        most.works if most.works is None else all(m.works for m in among),
    )


def purifiers(measured: Iterable[Measured]) -> int:
    """Return of how many purifiers, or chains of them, the worst case is the worst."""
    return len({m.purifiers for m in _purified(measured)})


def _purified(measured: Iterable[Measured]) -> list[Measured]:
    """Return what the worst case is chosen from: the measurements behind purifiers at the board's
    budget, or where there are none at another, with most people.
    """

    def place(m: Measured) -> tuple[bool, bool, int]:
        return m.metric == METRIC, m.budget in (0, BUDGET), m.people

    purified = _learned(measured, purified=True)
    return [m for m in purified if place(m) == max(map(place, purified))]


def _learned(measured: Iterable[Measured], *, purified: bool) -> list[Measured]:
    """Return the measurements of attackers of whom more is worse, with or without purifiers."""
    return [
        m for m in measured if m.score and bool(m.purifiers) is purified and m.better == "higher"
    ]


def flags(measured: Sequence[Measured], version: int, *, control: bool) -> tuple[str, ...]:
    """Return what a reader of an entry should know at once, as names of KINDS.

    Args:
        measured: all of the entry's.
        version: of the method now.
        control: whether it is a control.
    """
    stands_for, purified = main(measured), worst(measured)
    found = [*doubts(stands_for), *stands_for.flags] if stands_for else []
    if purified and purified.works is False:
        found.append(GONE)
    if not purified and not control:
        found.append(NEVER_PURIFIED)
    if any(m and m.version < version for m in (stands_for, purified)):
        found.append(OLDER)
    return tuple(dict.fromkeys(found))


def unreliable(measured: Sequence[Measured]) -> str | None:
    """Return why an entry's numbers say little; None where they stand."""
    stands_for = main(measured)
    if stands_for is None:
        return "nothing was measured"
    if stands_for.people < FEWEST_SETS:
        sets = f"{stands_for.people} photo set{'s' * (stands_for.people != 1)}"
        return f"too few photos: {sets}, fewer than {FEWEST_SETS}"
    return None
