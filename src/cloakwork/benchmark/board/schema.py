"""The JSON schema of an entry, made from its dataclasses."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from cloakwork import registry
from cloakwork.benchmark.board.entry import Entry

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}


def schema() -> dict[str, Any]:
    """Return the schema of an entry's file; fields that the dataclasses do not have are refused."""
    parts: dict[str, Any] = {}
    whole = _of(Entry, parts)
    return {"$schema": DIALECT, "title": "An entry of the board", **whole, "$defs": parts}


def _of(kind: Any, parts: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; add those of the dataclasses in it to `parts`."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return {"anyOf": [_of(part, parts) for part in inner]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is tuple:
        return {"type": "array", "items": _of(inner[0], parts)}
    if is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in parts:
            parts[kind.__name__] = _instance(kind, parts)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    return {"type": PLAIN[kind]}


def _instance(kind: type, parts: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a dataclass, with the help that stands below its fields."""
    types, helps = get_type_hints(kind), registry.field_help(kind)
    names = [field.name for field in fields(kind)]
    described = {n: {"description": helps[n]} if n in helps else {} for n in names}
    return {
        "type": "object",
        "description": kind.__doc__,
        "properties": {name: _of(types[name], parts) | described[name] for name in names},
        "required": names,
        "additionalProperties": False,
    }
