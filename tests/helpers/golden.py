"""Golden values: numbers that may move only together with VERSION or with the weights."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

GOLDEN = Path(__file__).parents[1] / "golden.json"


def golden(name: str, version: int, weights: str, values: list[float], within: float) -> None:
    """Compares numbers with those that were written for this name with the same VERSION and
    weights.

    With CLOAKWORK_GOLDEN=write in the environment they are written.
    """
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("CLOAKWORK_GOLDEN") == "write":
        now = {"version": version, "weights": weights, "values": values}
        GOLDEN.write_text(json.dumps(known | {name: now}, indent=1, sort_keys=True) + "\n")
        return
    then = known.get(name, {})
    assert (version, weights) == (then.get("version"), then.get("weights")), (
        "write new golden values"
    )
    assert values == pytest.approx(then["values"], abs=within)
