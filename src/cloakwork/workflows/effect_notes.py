"""What was measured of a protection's effect, where that is not what a user would hope for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from cloakwork import specs
from cloakwork.files import ASSETS
from cloakwork.photos.visibility import follows
from cloakwork.specs import Method

# written by benchmarks/measured.py
MEASURED = ASSETS / "measured.json"
# attackers are called by the purifiers that they use; what people know these by
KNOWN_BY = {
    "codesr": "Real-ESRGAN",
    "gridpure": "GrIDPure",
    "jpeg_and_resize": "JPEG 75 and a resize to half the size",
    "learned": "a network that has learned to undo pid",
    "learned:weights=lasting": "a network that has learned to undo it",
}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def effect_notes(method: Method, surrogates: Sequence[str], where: str = "") -> list[str]:
    """Return a note where no effect of a protection was found, or none was ever looked for.

    Args:
        method: one of the package's protections with its settings; others, and the controls, have
            no note.
        surrogates: what it is computed against.
        where: photos change alone, such as "around faces"; "": everywhere, as measured photos did.

    Returns:
        One sentence, or none where all attackers were found to do worse.
    """
    budget = method.config.budget
    if method.source or method.name in ("none", "noise") or not budget:
        return []
    what, models = f"{_with_preset(method)} at a budget of {budget:g}", " and ".join(surrogates)
    known = _measured()
    if models != known["victim"] and getattr(method.module, "USES_SURROGATES", True):
        return [f"{what} was never measured against {models}."]
    rows = [row for row in known["measured"] if row["protection"].split(":")[0] == method.name]
    same = [row for row in rows if row["budget"] == budget]
    if not same:
        return [f"{what} was never measured."]
    if not (row := next((row for row in same if _config(row) == method.config), None)):
        return [f"{what} was never measured with these settings."]
    if where:
        return [f"{what} was measured where photos change everywhere, and never only {where}."]
    return _not_found(method, row, known["victim"])


def _with_preset(method: Method) -> str:
    """Return a protection's name with the preset that it differs from by budget and strength alone,
    unless that is the usual one.

    >>> _with_preset(specs.parse("protections", "pid:lasting:budget=8"))
    'pid:lasting'
    """
    own = ("budget", "strength")
    changed = {f: getattr(method.config, f) for f in own if hasattr(method.config, f)}
    for name, preset in getattr(method.module, "PRESETS", {}).items():
        if name not in ("tiny", "paper") and replace(preset, **changed) == method.config:
            return f"{method.name}:{name}"
    return method.name


def _not_found(method: Method, row: dict[str, Any], victim: str) -> list[str]:
    """Return the sentence on attackers who were not found to do worse, if there are any."""
    attackers = row["attackers"]
    spared = [_called(a["attacker"]) for a in attackers if not a["works"]]
    if not spared:
        return []
    how = f" and strength {method.config.strength}" if follows(method.config) else ""
    said = (
        f"At a budget of {row['budget']:g}{how} {_with_preset(method)} was measured on {victim} "
        f"against {_count(len(attackers), 'attacker', 'attackers')} with the photos of "
        f"{_count(row['people'], 'person', 'people')}"
    )
    if len(spared) == len(attackers):
        return [f"{said}, and no effect was found."]
    few = _count(len(spared), "of them", "of them")
    return [f"{said}, and against {few} no effect was found: {'; '.join(spared)}."]


def _called(attacker: str) -> str:
    """Return an attacker's name in words that people know.

    >>> _called("codesr, CDL")
    'after Real-ESRGAN, CDL'
    """
    first, comma, rest = attacker.partition(",")
    return f"after {KNOWN_BY[first]}{comma}{rest}" if first in KNOWN_BY else attacker


def _count(n: int, one: str, many: str) -> str:
    """Return a number with its noun.

    >>> _count(1, "person", "people"), _count(12, "person", "people")
    ('one person', '12 people')
    """
    return f"{NUMBERS[n] if n < len(NUMBERS) else n} {one if n == 1 else many}"


def _config(row: dict[str, Any]) -> Any:
    """Return the Config that a row was measured with; None where it had more surrogates."""
    if "@" in row["protection"]:
        return None
    method = specs.parse("protections", row["protection"])
    return replace(method.config, budget=row["budget"])


@cache
def _measured() -> dict[str, Any]:
    """Read what was measured."""
    return json.loads(MEASURED.read_text(encoding="utf-8"))
