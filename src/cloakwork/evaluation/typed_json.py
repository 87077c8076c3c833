"""What JSON holds, as the dataclass that it was written from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from cloakwork.errors import in_words

T = TypeVar("T")
# fields of results that JSON has under older names
OLDER_NAMES = {"threat_model": "thief", "threat_models": "thieves"}


class Misfit(ValueError):
    """What JSON holds is of another type than the dataclass has, or is not there."""

    def __init__(self, fault: str, *place: str | int) -> None:
        super().__init__(fault)
        self.fault, self.place = fault, place

    def __str__(self) -> str:
        """Return where it is and what is wrong with it, such as "rows[2].size is a text"."""
        named = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in self.place)
        return f"{named.removeprefix('.') or 'it'} {self.fault}"


def renamed(plain: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return an object of JSON with other names for those of its fields that have one.

    >>> renamed({"threat_model": "plain", "victim": "tiny"}, OLDER_NAMES)
    {'thief': 'plain', 'victim': 'tiny'}
    """
    return {names.get(name, name): value for name, value in plain.items()}


def read(kind: type[T], data: Any) -> T:
    """Return a dataclass's instance from what JSON holds of it, and of nothing else.

    Args:
        kind: as of `from_json`.
        data: as the JSON was parsed.

    Raises:
        Misfit: a field is missing, is of another type, or is none of the dataclass's.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Found:
    ...     psnr: list[float]
    >>> read(Found, {"psnr": [30, "x"]})
    Traceback (most recent call last):
    cloakwork.evaluation.typed_json.Misfit: psnr[1] is a text; allowed is a number
    """
    try:
        return _read(kind, data, exact=True)
    except (OverflowError, RecursionError) as error:
        raise Misfit(f"cannot be read ({error})") from None


def from_json(kind: type[T], data: Any) -> T | None:
    """Return a dataclass's instance from what JSON holds of it.

    Fields that the dataclass does not have are passed over: a newer version may have written them.

    Args:
        kind: a dataclass; its fields are texts, numbers, paths, literals, lists, dicts, other
            dataclasses, or unions of these. Paths are texts in JSON.
        data: as the JSON was parsed.

    Returns:
        None unless every field without a default is there, and each is of its type.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Found:
    ...     file: Path
    ...     psnr: float | None
    >>> from_json(Found, {"file": "a.png", "psnr": 30, "newer": []})
    Found(file=PosixPath('a.png'), psnr=30.0)
    >>> from_json(Found, {"file": 5, "psnr": 30}), from_json(Found, [])
    (None, None)
    """
    try:
        return _read(kind, data)
    except (ValueError, OverflowError, RecursionError):
        return None


def _read(kind: Any, value: Any, exact: bool = False) -> Any:
    """Return a value as its type.

    Raises:
        ValueError: it is of another type.
    """
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _first(kind, value, exact)
    if origin is Literal and value in parts:
        return value
    if kind is Path and isinstance(value, str):
        return _path(value)
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        return _instance(kind, value, exact)
    if origin in (list, tuple, Sequence) and isinstance(value, list):
        entries = (_at(i, parts[0], entry, exact) for i, entry in enumerate(value))
        return (tuple if origin is tuple else list)(entries)
    if origin is dict and isinstance(value, dict):
        return {key: _at(key, parts[1], entry, exact) for key, entry in value.items()}
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind is Any or (kind in (int, str, bool, type(None)) and type(value) is kind):
        return value
    raise _misfit(kind, value)


def _misfit(kind: Any, value: Any) -> Misfit:
    """Return the fault of a value that is of another type."""
    given = {dict: "an object", list: "a list"}.get(type(value)) or in_words(type(value))
    return Misfit(f"is {given}; allowed is {in_words(kind)}")


def _at(place: str | int, kind: Any, value: Any, exact: bool) -> Any:
    """Return a value as its type; a fault says where it is."""
    try:
        return _read(kind, value, exact)
    except Misfit as error:
        raise Misfit(error.fault, place, *error.place) from None


def _first(kind: Any, value: Any, exact: bool) -> Any:
    """Return a value as the first of a union's types that takes it.

    Raises:
        Misfit: none does. Of a type of its shape it is that type's, which says where.
    """
    alike = None
    for part in get_args(kind):
        try:
            return _read(part, value, exact)
        except Misfit as error:
            shape = dict if is_dataclass(part) else list if get_args(part) else ()
            alike = error if isinstance(value, shape) else alike
        except ValueError:
            continue
    raise alike or _misfit(kind, value)


def _instance(kind: type[T], data: dict[str, Any], exact: bool) -> T:
    """Return a dataclass's instance from its fields."""
    types, known = get_type_hints(kind), {}
    for field in fields(kind):  # type: ignore[arg-type] - _read has looked
        if field.name in data:
            known[field.name] = _at(field.name, types[field.name], data[field.name], exact)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise Misfit("is missing", field.name)
    if exact and (others := [name for name in data if name not in types]):
        raise Misfit(f"has no field {others[0]}; there are {', '.join(types)}")
    return kind(**known)


def _path(text: str) -> Path:
    """Return a text as a path, if the system could have a file of that name."""
    parts = os.fsencode(text).split(b"/")  # UnicodeEncodeError is a ValueError
    if not text or "\0" in text or max(map(len, parts)) > 255 or len(text) > 4000:
        raise ValueError("a path is empty, too long, or has a zero byte")
    return Path(text)
