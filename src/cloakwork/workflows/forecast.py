"""How long a run still takes, by the work that its parts consist of.

What each part has to do is known before it begins, in passes through models. What a kind of work
costs is learned while the run goes on: of parts that are like one that is over from that one, of
others from what shares their kinds of work, and before anything is over from `SECONDS`.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cloakwork.workflows.how_far import TIME

if TYPE_CHECKING:  # the command line shows its help without torch
    from cloakwork.state import Progress

# of one pass a picture, on tiny, by one thread of a server CPU; what counts is how they compare
SECONDS = {
    "unet": 0.018,
    "unet calls": 0.022,
    "unet_backward": 0.02,
    "vae_encode": 0.027,
    "vae_encode_backward": 0.038,
    "vae_decode": 0.074,
    "vae_decode_backward": 0.11,
    "training_steps": 0.18,
    "photos written": 0.3,
    "photos purified": 0.1,
    "scores": 0.2,
}
AT_ONCE = 8  # steps of a loop that one report may be about
MANY = 20  # steps of which the second comes soon enough
TRUST = 3  # steps of a loop that weigh as much as what was expected of it
Ratios = Mapping[Hashable, float]
clock: Callable[[], float] = time.monotonic


@dataclass
class Part:
    """A stretch of a run."""

    step: str
    """what it is a part of: a photo set, a step of the store"""
    loop: str
    """what its loop is reported as; empty where no loop tells how far it is"""
    work: Mapping[str, float]
    """how much it does of each kind in `SECONDS`"""
    like: Hashable = None
    """the same in parts of other steps that do the same"""
    seconds: float = 0.0
    """that it took so far, in this run"""
    share: float = 0.0
    """of its work, done in this run"""

    @property
    def usual(self) -> float:
        """Return the seconds that it would take where `SECONDS` holds."""
        return sum(SECONDS[kind] * n for kind, n in self.work.items())


class Forecast:
    """Seconds left of a run, by what is told of it.

    Args:
        parts: of the whole run, in order; those that turn out to be done already are passed over.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts, self.at = list(parts), 0
        self.began = self.since = clock()
        self.first: tuple[float, int] | None = None  # seconds and steps at the part's first report
        self.last: tuple[float, int, int] | None = None  # seconds, steps and their total: latest

    def heard(self, loop: str, done: int, total: int) -> None:
        """Take note that a loop has done so many of its steps."""
        where = self._find(loop, done)
        if where is None:
            return
        now = clock()
        if where != self.at:
            self._go_to(where, now)
        self.first, self.last = self.first or (now, done), (now, done, total)
        part, begun_with = self.parts[self.at], self.first[1]
        # what came before a late first report was done by an earlier run
        new = done if begun_with <= AT_ONCE else done - begun_with + 1
        part.seconds, part.share = now - self.since, min(1.0, new / max(1, total))
        if done >= total:
            self._go_to(self.at + 1, now)

    def finished(self, step: str) -> None:
        """Take note that a step is over, whatever was heard of its parts."""
        places = [i for i, part in enumerate(self.parts) if part.step == step and i >= self.at]
        if places:
            self._go_to(places[-1] + 1, clock())

    def left(self) -> float | None:
        """Return the seconds left; None while nothing has been learned yet."""
        before = self._before()
        known = self._with_here(before)
        if not known or (not before and self._begins()):
            return None
        likes, kinds = _ratios(known)
        return self._left_here(likes, kinds) + sum(
            _expected(part, likes, kinds) for part in self.parts[self.at + 1 :]
        )

    def _before(self) -> list[Part]:
        """Return the parts before the one that is running, of which something was learned."""
        return [part for part in self.parts[: self.at] if part.share and part.usual]

    def _begins(self) -> bool:
        """Return whether only the first of many steps is known, which also gets things ready."""
        if self.first is None or self.last is None:
            return False
        return self.first[1] == self.last[1] and self.last[2] >= MANY

    def _with_here(self, before: list[Part]) -> list[Part]:
        """Return the parts before and the one that is running, whose first steps vary: they weigh
        little against what was expected of them.
        """
        here = self.parts[self.at : self.at + 1]
        if not here or not here[0].share or not here[0].usual:
            return before
        part, total = here[0], max(1, self.last[2]) if self.last else 1
        if not before or not self.last:
            return [*before, part]
        more = TRUST / total
        expected = more * _expected(part, *_ratios(before))
        return [*before, replace(part, seconds=part.seconds + expected, share=part.share + more)]

    def _find(self, loop: str, done: int) -> int | None:
        """Return the place of the part that a loop's report is about."""
        here, later = self.parts[self.at : self.at + 1], range(self.at + 1, len(self.parts))
        if here and here[0].loop == loop and (self.last is None or done > self.last[1]):
            return self.at
        # parts of a step stand together, so its own come first; thousands may stand behind them
        return next((i for i in later if self.parts[i].loop == loop), None)

    def _go_to(self, where: int, now: float) -> None:
        """End the part that is running, and begin another."""
        if self.at < len(self.parts) and not self.parts[self.at].loop:
            self.parts[self.at].seconds, self.parts[self.at].share = now - self.since, 1.0
        self.at, self.since, self.first, self.last = where, now, None, None

    def _left_here(self, likes: Ratios, kinds: Ratios) -> float:
        """Return the seconds left of the part that is running."""
        if self.at >= len(self.parts):
            return 0.0
        part, now = self.parts[self.at], clock()
        if self.first and self.last and self.last[1] > self.first[1]:
            (t_0, n_0), (t_1, n_1, total) = self.first, self.last
            taken, steps = t_1 - t_0, n_1 - n_0  # the first step also got everything ready
            if part.usual and (before := self._before()):  # its first steps vary
                taken += TRUST * _expected(part, *_ratios(before)) / max(1, total)
                steps += TRUST
            pace = taken / steps
            return max(0.0, (total - n_1) * pace - (now - t_1))
        share_left = 1 - self.last[1] / max(1, self.last[2]) if self.last else 1.0
        since = self.last[0] if self.last else self.since
        return max(0.0, share_left * _expected(part, likes, kinds) - (now - since))


def _ratios(known: Sequence[Part]) -> tuple[Ratios, Ratios]:
    """Return how many times as long as usual it took: parts that are alike, and each kind of work.

    Under None stands what holds of all.
    """
    taken: defaultdict[Hashable, float] = defaultdict(float)
    usual: defaultdict[Hashable, float] = defaultdict(float)
    of_kind: defaultdict[Hashable, float] = defaultdict(float)
    usual_of_kind: defaultdict[Hashable, float] = defaultdict(float)
    for part in known:
        done = part.share * part.usual
        for group in {part.like, None}:
            taken[group] += part.seconds
            usual[group] += done
        for kind, n in part.work.items():
            amount = SECONDS[kind] * n * part.share
            of_kind[kind] += amount * part.seconds / done
            usual_of_kind[kind] += amount
    return (
        {group: seconds / usual[group] for group, seconds in taken.items()},
        {kind: seconds / usual_of_kind[kind] for kind, seconds in of_kind.items() if seconds},
    )


def _expected(part: Part, likes: Ratios, kinds: Ratios) -> float:
    """Return the seconds that a whole part is expected to take."""
    if part.like is not None and part.like in likes:
        return likes[part.like] * part.usual
    return sum(kinds.get(kind, likes[None]) * SECONDS[kind] * n for kind, n in part.work.items())


def telling(forecast: Forecast, progress: Progress, *, pass_on: bool = True) -> Progress:
    """Return a progress that also tells the forecast, and reports the time by it.

    Args:
        forecast: told of every loop.
        progress: gets the forecast's seconds under `TIME`, at most once a second.
        pass_on: it gets everything else as well.
    """
    told = -1.0

    def tell(loop: str, done: int, total: int) -> None:
        nonlocal told
        forecast.heard(loop, done, total)
        if pass_on:
            progress(loop, done, total)
        now = clock()
        if now - told >= 1 and (left := forecast.left()) is not None:
            told, passed = now, round(now - forecast.began)
            progress(TIME, passed, passed + max(1, round(left)))

    return tell
