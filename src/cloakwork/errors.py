"""The exceptions that a user is meant to read."""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import attrgetter
from typing import Any


class UserError(Exception):
    """A mistake that the user can mend: what was given, what is allowed, what to do next, one
    sentence a fault.

    Faces show the sentences without a traceback and end with exit status 2.
    """

    def __init__(self, *sentences: str) -> None:
        super().__init__(*sentences)
        self.sentences = sentences

    def __str__(self) -> str:
        return "\n".join(self.sentences)


class Unscored(Exception):
    """A metric cannot be measured here: why, and how to get it, in one sentence. The score is then
    NaN, never 0.
    """

    @property
    def reason(self) -> str:
        return str(self)


def check_ranges(config: object, **allowed: tuple[float, float]) -> None:
    """Bounds of a Config's fields, lowest and highest allowed; an infinite highest is none. Nested
    fields are dotted.

    Raises:
        UserError: one sentence for each field that is out of bounds, all together.
    """
    faults = []
    for name, (low, high) in allowed.items():
        value = attrgetter(name)(config)
        if not low <= value <= high or math.isinf(value):
            span = f"{low:g} to {high:g}" if high < math.inf else f"numbers of {low:g} or more"
            faults.append(f"The field {name} is {value}; allowed are {span}.")
    if faults:
        raise UserError(*faults)


def faults_of(check: Callable[..., object], *args: Any, **how: Any) -> tuple[str, ...]:
    """What a check has to say: the sentences of its UserError, none where it finds no fault."""
    try:
        check(*args, **how)
    except UserError as error:
        return error.sentences
    return ()


class Unwritable(UserError):
    """A file that could not be written, for want of room or of the right to: what else is to be
    written will fare no better.
    """
