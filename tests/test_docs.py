"""The documents' tables are what was measured, and nobody has typed in them."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

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
