"""Where steps run: here, one after the other, beside whoever else works on the same store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from statistics import median

from cloakwork.benchmark.execution.failures import (
    Failure,
    dependency_failure,
    failure_from,
    root_cause,
)
from cloakwork.errors import Unwritable
from cloakwork.evaluation import compute, steps
from cloakwork.evaluation.steps import Step, Workspace

StepProgress = Callable[[int, int, str], None]  # steps done, of how many, what was done last


@dataclass
class Outcome:
    """What became of a run."""

    made: list[str] = field(default_factory=list)
    """names of the results that were made here"""
    failed: dict[str, Failure] = field(default_factory=dict)
    """name -> why there is no such result: what the step said, or which step before it failed"""

    def reasons(self) -> dict[str, Failure]:
        """Return, for every result that is missing, the failure with which that began."""
        return {name: root_cause(name, self.failed) for name in self.failed}


def serial(
    targets: Iterable[Step], workspace: Workspace, tell: StepProgress | None = None
) -> Outcome:
    """Make what is missing for the targets, in this process.

    Steps that other processes are at are passed over and come again later, if need be after those
    others have died. A step that raises has failed, with all that rests on it; the others go on.

    Args:
        targets: steps whose results are wanted.
        workspace: store, device and models.
        tell: called after every step.
    """
    waiting = steps.graph(targets, workspace, missing=True)
    outcome, total, finished = Outcome(), len(waiting), 0
    while waiting:
        later = {}
        for name, step in waiting.items():
            before = [steps.name_of(other, workspace) for other in step.dependencies]
            if lost := next((b for b in before if b in outcome.failed), None):
                outcome.failed[name] = dependency_failure(lost)
            elif any(b in later for b in before) or not run_step(step, name, workspace, outcome):
                later[name] = step
                continue
            finished += 1
            if tell:
                tell(finished, total, name)
        if len(later) == len(waiting):
            time.sleep(compute.POLL)
        waiting = later
    return outcome


def run_step(step: Step, name: str, workspace: Workspace, outcome: Outcome) -> bool:
    """Make a step whose inputs are there, unless another process is at it, and note in `outcome`
    what became of it.

    Returns:
        Whether nothing is left to do for it: its result is there, or it has failed.
    """
    if workspace.results.has(name):
        return True
    try:
        if compute.attempt(step, workspace) is None:
            return False
        outcome.made.append(name)
    except Unwritable:  # nothing that comes after could be kept either
        raise
    except Exception as error:
        # a recipe's other steps are worth having whatever went wrong in this one
        outcome.failed[name] = failure_from(error)
    return True


@dataclass(frozen=True)
class Expected:
    """What the steps of one method would cost."""

    kind: str
    name: str
    steps: int
    cached: int
    """those that nothing is left to do for: the result is there, or what would need it is"""
    timed: tuple[float, ...]
    """seconds of those that the store has records of, of other grids too, sorted"""

    @property
    def seconds(self) -> float | None:
        """Return the median for one; None where none has been run."""
        return median(self.timed) if self.timed else None

    @property
    def todo(self) -> int:
        """Return how many have yet to be made."""
        return self.steps - self.cached

    @property
    def left(self) -> float | None:
        """Return the seconds for those; None where one is not known."""
        return 0.0 if not self.todo else None if self.seconds is None else self.todo * self.seconds


def expect(targets: Iterable[Step], workspace: Workspace) -> list[Expected]:
    """Count the steps of a run by kind and method, and estimate what those that have yet to be
    made take; compute nothing.
    """
    targets = list(targets)
    missing = steps.graph(targets, workspace, missing=True)
    taken: dict[tuple[str, str], list[float]] = {}
    for record in workspace.results.records():
        if {"kind", "name", "seconds"} <= record.keys():
            taken.setdefault((record["kind"], record["name"]), []).append(record["seconds"])
    counts: dict[tuple[str, str], list[bool]] = {}
    for name, step in steps.graph(targets, workspace).items():
        counts.setdefault((step.kind, step.name), []).append(name not in missing)
    return [
        Expected(*of, len(there), sum(there), tuple(sorted(taken.get(of, ()))))
        for of, there in counts.items()
    ]
