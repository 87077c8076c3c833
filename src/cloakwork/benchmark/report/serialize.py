"""Findings as plain data and back."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from cloakwork._version import __version__
from cloakwork.benchmark.results import Cell, Cost, Flag, Reported, Results, TableResults
from cloakwork.errors import UserError
from cloakwork.evaluation.intervals import Estimate

FORMAT = 1
GAPS = ("mean", "against_clean", "against_noise", "against_rival")


def dump(findings: Results) -> str:
    """JSON; what JSON has no number for (NaN, infinite) stands as {"float": "nan"}."""
    content = {"format": FORMAT, "made_by": __version__, "findings": _named(asdict(findings))}
    return json.dumps(content, indent=1, default=str, allow_nan=False) + "\n"


def load(text: str, where: str = "The text") -> Results:
    """The findings that `dump` wrote; tuples in `made` come back as lists.

    Args:
        text: JSON.
        where: what to call it when it cannot be read.

    Raises:
        UserError: no findings, or those of a newer version.
    """
    try:
        content = json.loads(text, object_hook=_number)
        if content["format"] > FORMAT:
            raise UserError(
                f"{where} was written by cloakwork {content['made_by']} (format {content['format']}; this one reads {FORMAT}); "
                "update cloakwork."
            )
        return _findings(content["findings"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{where} holds no findings ({type(error).__name__}: {error}); it must be a findings.json."
        ) from None


def _findings(kept: dict[str, Any]) -> Results:
    return Results(
        **kept
        | {
            "tables": tuple(_table(t) for t in kept["tables"]),
            "flags": tuple(Flag(**f) for f in kept["flags"]),
            "costs": tuple(Cost(**c) for c in kept["costs"]),
        }
    )


def _table(kept: dict[str, Any]) -> TableResults:
    read: dict[str, Any] = {
        name: tuple(kept[name]) for name in ("subjects", "metrics", "thieves", "protections")
    }
    read["cells"] = tuple(_cell(c) for c in kept["cells"])
    read["stealth"] = {
        p: {m: Estimate(**e) for m, e in by.items()} for p, by in kept["stealth"].items()
    }
    return TableResults(**kept | read)


def _cell(kept: dict[str, Any]) -> Cell:
    read: dict[str, Any] = {name: Estimate(**kept[name]) for name in GAPS if kept.get(name)}
    read |= {
        "reported": tuple(Reported(**r) for r in kept["reported"]),
        "flags": tuple(kept["flags"]),
    }
    return Cell(**kept | read)


def _named(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _named(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_named(v) for v in value]
    return {"float": str(value)} if isinstance(value, float) and not math.isfinite(value) else value


def _number(kept: dict[str, Any]) -> Any:
    return (
        float(kept["float"])
        if set(kept) == {"float"} and kept["float"] in ("nan", "inf", "-inf")
        else kept
    )
