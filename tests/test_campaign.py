"""A small share of the campaign: `make campaign` tries each of its parts by the thousand."""

from __future__ import annotations

from pathlib import Path

from campaign import carriers, photos, records


def test_damaged_photos_load_or_are_refused_in_a_sentence(tmp_path: Path) -> None:
    outcomes = photos.run(17, 170, tmp_path)
    assert outcomes.keys() == {"loaded", "refused"} and outcomes.total() == 170


def test_no_hidden_copy_of_the_original_is_written(tmp_path: Path) -> None:
    assert carriers.run(17, 15, tmp_path) == {"gone": 15}


def test_damaged_files_give_the_same_or_a_sentence(tmp_path: Path) -> None:
    outcomes = records.by_kind(3, 12, tmp_path)
    assert len(outcomes) == 9
    for name, counts in outcomes.items():
        assert counts.keys() <= {"same", "refused"}, (name, counts)
        assert counts.total() == 12
    assert all(outcomes[name]["refused"] == 0 for name in ("checkpoint", "draws", "result"))
