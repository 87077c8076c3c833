"""The exceptions that a user is meant to read."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import attrgetter
from typing import Any


class UserError(Exception):
    """A mistake that the user can mend: what was given, what is allowed, what to do next.

    Each fault is a sentence of its own. The command line shows them without a traceback and ends
    with exit status 2.

    >>> print(UserError("The seed is -1; allowed are 0 and more.", "There is no file 'a.png'."))
    The seed is -1; allowed are 0 and more.
    There is no file 'a.png'.
    """

    def __init__(self, *sentences: str) -> None:
        super().__init__(*sentences)
        self.sentences = sentences

    def __str__(self) -> str:
        return "\n".join(self.sentences)


class NotFinite(UserError):
    """A loss, a gradient or a pixel that is infinite or not a number: nothing can be made of it."""


class Unscored(Exception):
    """A metric that cannot be measured here: why, and how to get it. Its score is NaN, never 0."""

    @property
    def reason(self) -> str:
        return str(self)


def check_ranges(config: object, **allowed: tuple[float, float]) -> None:
    """Check that the fields of a Config lie within their bounds.

    Args:
        config: the object whose fields are looked at.
        allowed: field -> lowest and highest value; an infinite highest is none.

    Raises:
        UserError: one sentence for each field that is out of bounds, all together.

    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(budget=-1, steps=5)
    >>> check_ranges(config, steps=(1, 10))
    >>> for fault in faults_of(check_ranges, config, budget=(0, 255), steps=(10, math.inf)):
    ...     print(fault)
    The field budget is -1; allowed are 0 to 255.
    The field steps is 5; allowed are numbers of 10 or more.
    """
    faults = []
    for name, (low, high) in allowed.items():
        value = attrgetter(name)(config)
        if not low <= value <= high or math.isinf(value):
            span = f"{low:g} to {high:g}" if high < math.inf else f"numbers of {low:g} or more"
            faults.append(f"The field {name} is {value}; allowed are {span}.")
    if faults:
        raise UserError(*faults)


def faults_of(check: Callable[..., object], *args: Any, **options: Any) -> tuple[str, ...]:
    """Return the sentences of the UserError that a check raises; none where it raises none.

    >>> def check(seed: int) -> None:
    ...     if seed < 0:
    ...         raise UserError(f"The seed is {seed}; allowed are 0 and more.")
    >>> faults_of(check, -1)
    ('The seed is -1; allowed are 0 and more.',)
    >>> faults_of(check, 0)
    ()
    """
    try:
        check(*args, **options)
    except UserError as error:
        return error.sentences
    return ()


class Unwritable(UserError):
    """A file that could not be written, for want of room or of permission.

    What else is to be written will fare no better, so whoever catches it should stop.
    """
