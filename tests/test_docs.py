"""The documents' tables are what was measured, and nobody has typed in them."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from cloakwork.findings import Cell, TableFindings
from cloakwork.intervals import estimate

ROOT = Path(__file__).parents[1]


@pytest.fixture
def docs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("docs")


def test_tables_are_those_of_the_results(docs: ModuleType) -> None:
    kept = docs.kept(ROOT / "results" / "tiny")
    found = list(docs.place(kept, ROOT))
    assert {"methods", "best", "denoising", "thieves"} <= {name for _, name, _ in found}
    for doc, name, lines in found:
        assert docs.stands(doc, name) == lines, f"{doc.name}, {name}: run python benchmarks/docs.py"
    places = {name for shows in docs.PLACES.values() for name in shows}
    assert set(kept) <= places, "a measured table that no document shows"


def test_a_typed_number_is_noticed(docs: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\n<!-- best -->\n\n| x |\n|---|\n| 0.12 |\n\n<!-- end -->\n")
    assert docs.stands(tmp_path / "a.md", "best") == ["| x |", "|---|", "| 0.12 |"]
    assert docs.stands(tmp_path / "a.md", "worst") == []


def test_what_knowing_a_purifier_is_worth(docs: ModuleType) -> None:
    """Half ordinary, half adaptive; the purifier that leaves most to thieves in spite of it comes first."""
    thieves, one = ("lean", "jpeg", "codesr", "codesr, CDL"), "adaptive:tiny:purifiers="
    got = {"none": 0.9, "noise": 0.8, "advdm": 0.6, "cloakwork": 0.4, "adaptive": 0.2, "cloakwork:adaptive": 0.1,
           f"{one}jpeg": 0.3, f"{one}codesr": 0.5}  # fmt: skip
    cells = tuple(
        Cell("t", p, 16, thief, "dreambooth", "", "tiny", "match", "higher", "", mean=estimate({"a": {0: [v]}, "b": {0: [v]}}))
        for p, v in got.items()
        for thief in thieves
    )
    lines = docs.mixed(TableFindings("t", "", ("a", "b"), 1, ("match",), thieves, tuple(got), "", cells, {}))
    every = [line for line in lines if line.startswith("| adaptive | ") and "[" not in line]
    assert every == [f"| adaptive | {thief} | 0.60 | 0.20 | 0.40 |" for thief in thieves]
    assert "| cloakwork:adaptive | lean | 0.40 | 0.10 | 0.25 |" in lines
    assert lines[-3:] == [
        f"| {one}codesr | codesr | 0.60 | 0.50 | 0.55 |",
        f"| {one}codesr | codesr, CDL | 0.60 | 0.50 | 0.55 |",
        f"| {one}jpeg | jpeg | 0.60 | 0.30 | 0.45 |",
    ]
