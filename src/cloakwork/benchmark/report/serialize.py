"""Findings as plain data and back.

JSON has no number for NaN and the infinite, which here stand as {"float": "nan"}, so that they come
back as what they were. `files.write_json` writes null for them, which cannot be told from None.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from cloakwork._version import __version__
from cloakwork.benchmark.results import Cell, Cost, Flag, Reported, Results, TableResults
from cloakwork.errors import UserError
from cloakwork.evaluation.statistics import Estimate
from cloakwork.evaluation.typed_json import OLDER_NAMES, renamed

FORMAT = 1
GAPS = ("mean", "against_clean", "against_noise", "against_rival")
NEWER_NAMES = {old: new for new, old in OLDER_NAMES.items()}


def dump(findings: Results) -> str:
    """Return findings as JSON; what JSON has no number for stands as {"float": "nan"}."""
    plain = encode_floats(asdict(findings))
    for table in plain["tables"]:
        table["cells"] = [renamed(cell, OLDER_NAMES) for cell in table["cells"]]
    plain["tables"] = [renamed(table, OLDER_NAMES) for table in plain["tables"]]
    content = {"format": FORMAT, "made_by": __version__, "findings": plain}
    return json.dumps(content, indent=1, default=str, allow_nan=False) + "\n"


def load(text: str, where: str = "The text") -> Results:
    """Return the findings that `dump` wrote; tuples in `made` come back as lists.

    Args:
        text: JSON.
        where: what to call it when it cannot be read.

    Raises:
        UserError: no findings, or those of a newer version.
    """
    try:
        content = json.loads(text, object_hook=decode_float)
        if content["format"] > FORMAT:
            given = f"format {content['format']}; this one reads {FORMAT}"
            raise UserError(
                f"{where} was written by cloakwork {content['made_by']} ({given}); "
                "update cloakwork."
            )
        return _findings(content["findings"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{where} holds no findings ({type(error).__name__}: {error}); "
            "it must be a findings.json."
        ) from None


def encode_floats(value: Any) -> Any:
    """Return plain data in which every number is one that JSON can hold; `decode_float` undoes it.

    >>> encode_floats([1.5, math.nan, {"high": math.inf}])
    [1.5, {'float': 'nan'}, {'high': {'float': 'inf'}}]
    """
    if isinstance(value, dict):
        return {str(k): encode_floats(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [encode_floats(v) for v in value]
    return {"float": str(value)} if isinstance(value, float) and not math.isfinite(value) else value


def decode_float(entry: dict[str, Any]) -> Any:
    """Return the number that an object of JSON stands for, or the object if it stands for none.

    >>> decode_float({"float": "inf"}), decode_float({"float": "none"})
    (inf, {'float': 'none'})
    """
    if set(entry) == {"float"} and entry["float"] in ("nan", "inf", "-inf"):
        return float(entry["float"])
    return entry


def _findings(plain: dict[str, Any]) -> Results:
    read: dict[str, Any] = {
        "tables": tuple(_table(t) for t in plain["tables"]),
        "flags": tuple(Flag(**f) for f in plain["flags"]),
        "costs": tuple(Cost(**c) for c in plain["costs"]),
    }
    return Results(**plain | read)


def _table(plain: dict[str, Any]) -> TableResults:
    plain = renamed(plain, NEWER_NAMES)
    read: dict[str, Any] = {
        name: tuple(plain[name]) for name in ("subjects", "metrics", "threat_models", "protections")
    }
    read["cells"] = tuple(_cell(c) for c in plain["cells"])
    read["stealth"] = {
        p: {m: Estimate(**e) for m, e in by.items()} for p, by in plain["stealth"].items()
    }
    return TableResults(**plain | read)


def _cell(plain: dict[str, Any]) -> Cell:
    read: dict[str, Any] = {name: Estimate(**plain[name]) for name in GAPS if plain.get(name)}
    read["reported"] = tuple(Reported(**r) for r in plain["reported"])
    read["flags"] = tuple(plain["flags"])
    return Cell(**renamed(plain, NEWER_NAMES) | read)
