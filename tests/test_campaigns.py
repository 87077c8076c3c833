"""Small campaigns: what the ones in benchmarks/ do a thousand times, a few dozen times here."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest


def test_damaged_files_give_the_same_or_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    outcomes = importlib.import_module("campaign_records").run(3, 12, tmp_path)
    assert len(outcomes) == 9
    for name, counts in outcomes.items():
        assert counts.keys() <= {"same", "refused"}, (name, counts)
        assert counts.total() == 12
    assert all(outcomes[name]["refused"] == 0 for name in ("checkpoint", "draws", "result"))
    assert json.dumps(outcomes), "plain data"
