"""A few kills of the campaign, by which every command goes on after any."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are forked")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_commands_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    for name in ("CLOAKWORK_CACHE", "CLOAKWORK_CHECKPOINT_SECONDS", "CLOAKWORK_CAMPAIGN"):
        monkeypatch.setenv(name, "")  # so that they are as before afterwards
    campaign = importlib.import_module("campaign_kills")
    counts = campaign.run(0, 10, tmp_path, ("protect", "purify", "score"))
    assert not [fault for counted in counts.values() for fault in counted.faults]
    assert sum(counted.kills for counted in counts.values()) >= 10
