"""Failures of steps as data: what was said, of what kind it is, and which step began it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cloakwork.errors import NotFinite, Unwritable, UserError

FailureKind = Literal["not_finite", "unwritable", "dependency", "other"]


@dataclass(frozen=True)
class Failure:
    """Why a step has no result."""

    reason: str
    """a sentence for people"""
    kind: FailureKind = "other"
    because_of: str | None = None
    """name of the result that it needs and that could not be made; None where it failed itself"""


def failure_from(error: BaseException, text: str | None = None) -> Failure:
    """Return the failure of a step that raised an error.

    Args:
        error: what it raised.
        text: what to say of it, where that is less than all that the error says.

    >>> failure_from(ValueError("The kettle is empty."))
    Failure(reason='ValueError: The kettle is empty.', kind='other', because_of=None)
    """
    # readers need not tell the kinds of mistakes apart, which `kind` does for programs
    name = "UserError" if isinstance(error, UserError) else type(error).__name__
    kind: FailureKind = "other"
    if isinstance(error, NotFinite):
        kind = "not_finite"
    elif isinstance(error, Unwritable):
        kind = "unwritable"
    return Failure(f"{name}: {error if text is None else text}", kind)


def dependency_failure(name: str) -> Failure:
    """Return the failure of a step that needs a result which could not be made.

    >>> dependency_failure("purify/0a1b").reason
    'purify/0a1b, which it rests on, failed'
    """
    return Failure(f"{name}, which it rests on, failed", "dependency", name)


def root_cause(name: str, failures: Mapping[str, Failure]) -> Failure:
    """Return the failure with which that of a result began.

    >>> failures = {"a": Failure("It broke."), "b": dependency_failure("a")}
    >>> root_cause("b", failures)
    Failure(reason='It broke.', kind='other', because_of=None)
    """
    failure = failures[name]
    while failure.because_of is not None and failure.because_of in failures:
        failure = failures[failure.because_of]
    return failure
