"""How results show themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cloakwork.errors import UserError
from cloakwork.workflows.protect import protect
from cloakwork.workflows.score import score


def test_results_are_frames(sample_files: list[Path], tmp_path: Path) -> None:
    records = protect(sample_files, tmp_path / "safe", protection="noise", budget=4)
    frame = records.frame()
    assert list(frame["photo"]) == sorted(f.name for f in sample_files)
    assert frame["budget_used"].tolist() == [4, 4, 4]
    assert frame["width"].tolist() == [photo.width for photo in records[0].photos]
    scores = score(tmp_path / "safe", metrics="linf,psnr")
    frame = scores.frame().set_index("metric")
    assert frame.loc["linf", "mean"] == scores["linf"]["mean"]
    assert frame.loc["psnr", "scored"] == 3


def test_a_frame_without_pandas(
    sample_files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = protect(sample_files[:1], tmp_path / "safe", protection="noise")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="needs pandas, which is not installed"):
        records.frame()
