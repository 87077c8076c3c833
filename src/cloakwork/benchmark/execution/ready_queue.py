"""Steps in line until nothing that they rest on is missing, for engines that run many at once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

from cloakwork.benchmark.execution.failures import Failure, dependency_failure
from cloakwork.benchmark.execution.serial import Outcome, StepProgress


@dataclass(frozen=True)
class TaskResult:
    """What became of a step's task."""

    finished: bool
    """nothing is left to do for the step: its result is there, or it has failed"""
    made: bool = False
    """the task itself has made the result"""
    error: Failure | None = None
    """why the step has failed"""


@dataclass
class Queue:
    """Steps by number, in the order of their graph, as far as that can be kept. Every step and
    every edge is touched once, and steps that failed or are at work elsewhere have their place,
    which graphlib's sorter does not offer.

    Attributes:
        names: of their results.
        before: which ones each rests on, of those in line.
        pools: what each takes room from, such as processors with so much memory.
        tell: called after every step with steps done, their total and the last one's name.
    """

    names: Sequence[str]
    before: Sequence[Sequence[int]]
    pools: Sequence[Any]
    tell: StepProgress | None = None
    outcome: Outcome = field(default_factory=Outcome)
    done: int = 0
    flying: Counter[Hashable] = field(default_factory=Counter)
    """steps that have been started and not answered for, by pool"""

    def __post_init__(self) -> None:
        self._missing = [len(b) for b in self.before]
        self._after: list[list[int]] = [[] for _ in self.before]
        self._ready: dict[Hashable, list[int]] = {
            pool: [] for pool in dict.fromkeys(self.pools)
        }  # heaps
        self._resting: list[tuple[float, int]] = []
        for number, before in enumerate(self.before):
            for other in before:
                self._after[other].append(number)
            if not before:
                self._ready[self.pools[number]].append(number)

    @property
    def left(self) -> int:
        """Return the number of steps for which something is left to do."""
        return len(self.names) - self.done

    def start(self, room: Mapping[Any, int], most: int | None = None) -> Iterator[int]:
        """Take out the steps that can run now: of each pool as many as there is room for, together
        at most `most`.
        """
        while self._resting and self._resting[0][0] <= time.monotonic():
            self._push(heappop(self._resting)[1])
        for pool, heap in self._ready.items():
            while (
                heap
                and self.flying[pool] < room[pool]
                and (most is None or self.flying.total() < most)
            ):
                self.flying[pool] += 1
                yield heappop(heap)

    def complete(self, number: int, answer: TaskResult, again: float) -> list[int]:
        """Take note of what became of a step that was started.

        Args:
            number: of the step.
            answer: of its task; where something is left to do, another process is at it, and the
                step is in line again after `again` seconds.
            again: seconds.

        Returns:
            The steps for which nothing is left to do now: itself, and those that cannot be made
                because it failed.
        """
        self.flying[self.pools[number]] -= 1
        if not answer.finished:
            heappush(self._resting, (time.monotonic() + again, number))
            return []
        if answer.made:
            self.outcome.made.append(self.names[number])
        ended, open_ = [], [(number, answer.error)]
        while open_:
            number, error = open_.pop()
            ended.append(number)
            open_ += self._end(number, error)
        return ended

    def _end(self, number: int, error: Failure | None) -> Iterator[tuple[int, Failure]]:
        """Yield the steps that fail with this one, and why; put in line what is ready now."""
        name = self.names[number]
        if error:
            self.outcome.failed[name] = error
        self.done += 1
        if self.tell:
            self.tell(self.done, len(self.names), name)
        for later in self._after[number]:
            self._missing[later] -= 1
            if self._missing[later]:
                continue
            if lost := next(
                (self.names[b] for b in self.before[later] if self.names[b] in self.outcome.failed),
                None,
            ):
                yield later, dependency_failure(lost)
            else:
                self._push(later)

    def _push(self, number: int) -> None:
        heappush(self._ready[self.pools[number]], number)
