"""The exceptions that a user is meant to read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints


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


def check_arguments(function: Callable[..., object], given: Mapping[str, Any]) -> list[str]:
    """Check that a function's arguments are of the types that its signature names.

    Args:
        function: whose every argument has a type.
        given: argument -> value, as `locals()` has them where the function begins.

    Returns:
        The arguments' names.

    Raises:
        UserError: one sentence an argument, all together.
    """
    faults = type_faults("The argument {}", get_type_hints(function), given)
    if faults:
        raise UserError(*faults)
    return list(given)


def type_faults(what: str, types: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each value that is not of its type.

    Args:
        what: how a value is called, with {} for its name.
        types: name -> type; a whole number is a number, True is neither.
        given: name -> value; names without a type are passed over.

    >>> type_faults("The field {}", {"steps": int, "lr": float | None}, {"steps": "x", "lr": 1})
    ["The field steps is 'x'; allowed is a whole number."]
    """
    return [
        f"{what.format(name)} is {_shown(value)}; allowed is {in_words(types[name])}."
        for name, value in given.items()
        if name in types and not _fits(value, types[name])
    ]


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value is of a type; kinds of types that are not known here pass."""
    if kind is Any:
        return True
    origin, parts = get_origin(kind), [p for p in get_args(kind) if p is not ...]
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin is Callable:
        return callable(value)
    if origin in (tuple, list, Sequence):
        listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        if listed and origin is tuple and ... not in get_args(kind):
            return len(value) == len(parts) and all(map(_fits, value, parts))
        return listed and all(_fits(entry, part) for entry in value for part in parts)
    if kind in (int, float):
        wanted = (int, float) if kind is float else int
        return isinstance(value, wanted) and not isinstance(value, bool)
    return isinstance(value, origin or kind) if isinstance(origin or kind, type) else True


def in_words(kind: Any) -> str:
    """Return a type in the user's words.

    >>> in_words(int), in_words(float | None), in_words(Literal["+", "-"])
    ('a whole number', 'a number or None', '+ or -')
    >>> in_words(Sequence[str] | Path | str)
    'a list, a path or a text'
    """
    *first, last = dict.fromkeys(_words(kind))
    return f"{', '.join(first)} or {last}" if first else last


def _words(kind: Any) -> Iterator[str]:
    """Yield the alternatives of a type."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        for part in get_args(kind):
            yield from _words(part)
    elif origin is Literal:
        yield from map(str, get_args(kind))
    elif origin in (tuple, list, Sequence):
        yield "a list"
    elif origin is Callable:
        yield "a function"
    else:
        plain = {int: "a whole number", float: "a number", bool: "True or False"}
        plain |= {str: "a text", Path: "a path", NoneType: "None"}
        yield plain.get(kind) or f"a {getattr(kind, '__name__', kind)}"


def _shown(value: Any) -> str:
    """Return a value as it stands in a sentence; of what is long, the type alone."""
    plain = isinstance(value, str | int | float | Path | None)
    return repr(value) if plain and len(repr(value)) < 100 else f"a {type(value).__name__}"


class Unwritable(UserError):
    """A file that could not be written, for want of room or of permission.

    What else is to be written will fare no better, so whoever catches it should stop.
    """
