"""A small share of the campaign: `make campaign` tries each of its parts by the thousand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from campaign import carriers, kills, photos, records


def test_damaged_photos_load_or_are_refused_in_a_sentence(tmp_path: Path) -> None:
    outcomes = photos.run(17, 170, tmp_path)
    assert outcomes.keys() == {"loaded", "refused"} and outcomes.total() == 170


def test_no_hidden_copy_of_the_original_is_written(tmp_path: Path) -> None:
    assert carriers.run(17, 15, tmp_path) == {"gone": 15}


def test_damaged_files_give_the_same_or_a_sentence(tmp_path: Path) -> None:
    outcomes = records.by_kind(3, 6, tmp_path)
    assert len(outcomes) == 9
    for name, counts in outcomes.items():
        assert counts.keys() <= {"same", "refused"}, (name, counts)
        assert counts.total() == 6
    assert all(outcomes[name]["refused"] == 0 for name in ("checkpoint", "draws", "result"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="commands are forked")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_commands_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLOAKWORK_CACHE", "CLOAKWORK_CHECKPOINT_SECONDS", kills.FOLDER):
        monkeypatch.setenv(name, "")  # so that they are as before afterwards
    counts = kills.by_command(0, 6, tmp_path, ("protect", "purify"))
    assert not [fault for counted in counts.values() for fault in counted.faults]
    assert sum(counted.kills for counted in counts.values()) >= 6
