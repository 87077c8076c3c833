"""What JSON holds, as the dataclass that it was written from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


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


def _read(kind: Any, value: Any) -> Any:
    """Return a value as its type; ValueError where it is of another."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return _first(parts, value)
    if origin is Literal and value in parts:
        return value
    if kind is Path and isinstance(value, str):
        return _path(value)
    if is_dataclass(kind) and isinstance(kind, type) and isinstance(value, dict):
        return _instance(kind, value)
    if origin in (list, tuple, Sequence) and isinstance(value, list):
        return (tuple if origin is tuple else list)(_read(parts[0], entry) for entry in value)
    if origin is dict and isinstance(value, dict):
        return {key: _read(parts[1], entry) for key, entry in value.items()}
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind is Any or (kind in (int, str, bool, type(None)) and type(value) is kind):
        return value
    raise ValueError(f"a {type(value).__name__} is no {kind}")


def _first(kinds: Sequence[Any], value: Any) -> Any:
    """Return a value as the first of several types that takes it."""
    for kind in kinds:
        try:
            return _read(kind, value)
        except ValueError:
            continue
    raise ValueError(f"a {type(value).__name__} is none of {kinds}")


def _instance(kind: type[T], data: dict[str, Any]) -> T:
    """Return a dataclass's instance from its fields."""
    types, known = get_type_hints(kind), {}
    for field in fields(kind):  # type: ignore[arg-type] - _read has looked
        if field.name in data:
            known[field.name] = _read(types[field.name], data[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{field.name} is missing")
    return kind(**known)


def _path(text: str) -> Path:
    """Return a text as a path, if the system could have a file of that name."""
    parts = os.fsencode(text).split(b"/")  # UnicodeEncodeError is a ValueError
    if not text or "\0" in text or max(map(len, parts)) > 255 or len(text) > 4000:
        raise ValueError("a path is empty, too long, or has a zero byte")
    return Path(text)
