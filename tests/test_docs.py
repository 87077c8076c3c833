"""The documents' tables are what was measured, and nobody has typed in them."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from cloakwork.benchmark.results import Cell, TableResults
from cloakwork.evaluation.statistics import estimate

ROOT = Path(__file__).parents[1]


@pytest.fixture
def docs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("docs")


def test_tables_are_those_of_the_results(docs: ModuleType) -> None:
    kept = docs.kept(ROOT / "results" / "tiny")
    found = list(docs.place(kept, ROOT))
    assert {"methods", "best", "denoising", "attackers"} <= {name for _, name, _ in found}
    for doc, name, lines in found:
        assert docs.stands(doc, name) == lines, f"{doc.name}, {name}: run python benchmarks/docs.py"
    places = {name for shows in docs.PLACES.values() for name in shows}
    assert {name for name in kept if not name.startswith(docs.SINGLE)} <= places, (
        "a measured table that no document shows"
    )


def test_no_folder_of_a_machine_is_kept(docs: ModuleType) -> None:
    command = "cloakwork bench tiny --data '/a b' --store=/s/t -x --out o --table best"
    told = "cloakwork bench tiny --data DATA --store=STORE -x --out OUT --table best"
    assert docs.without_folders(command) == told
    kept = [path.read_text() for path in (ROOT / "results" / "tiny").glob("*.json")]
    commands = [c for text in kept for c in re.findall(r'"command": "(.*)"', text)]
    assert commands and not any("/" in command for command in commands)


def test_a_typed_number_is_noticed(docs: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(
        "# A\n\n<!-- best -->\n\n| x |\n|---|\n| 0.12 |\n\n<!-- end -->\n"
    )
    assert docs.stands(tmp_path / "a.md", "best") == ["| x |", "|---|", "| 0.12 |"]
    assert docs.stands(tmp_path / "a.md", "worst") == []


def found(name: str, got: dict[str, float], threats: tuple[str, ...]) -> TableResults:
    """A table in which every attacker gets the same from a protection, in two photo sets."""
    cells = tuple(
        Cell(
            "t",
            p,
            16,
            threat,
            "dreambooth",
            "",
            "tiny",
            "match",
            "higher",
            "",
            mean=estimate({"a": {0: [v]}, "b": {0: [v]}}),
        )
        for p, v in got.items()
        for threat in threats
    )
    return TableResults(name, "", ("a", "b"), 1, ("match",), threats, tuple(got), "", cells, {})


def test_what_knowing_the_purifiers_is_worth(docs: ModuleType) -> None:
    """Half ordinary, half adaptive."""
    got = {
        "none": 0.9,
        "noise": 0.8,
        "advdm": 0.6,
        "cloakwork": 0.4,
        "adaptive": 0.2,
        "cloakwork:adaptive": 0.1,
    }
    lines = docs.mixed(found("adaptive", got, ("lean", "jpeg")))
    assert [line for line in lines if line.startswith("| adaptive | ") and "[" not in line] == [
        "| adaptive | lean | 0.60 | 0.20 | 0.40 |",
        "| adaptive | jpeg | 0.60 | 0.20 | 0.40 |",
    ]
    assert "| cloakwork:adaptive | lean | 0.40 | 0.10 | 0.25 |" in lines


def test_the_purifier_that_leaves_most_to_attackers_in_spite_of_all_comes_first(
    docs: ModuleType,
) -> None:
    tables = [
        found(
            f"adaptive to {p}",
            {"none": 0.9, "noise": 0.8, "advdm": 0.6, f"adaptive:tiny:purifiers={p}": v},
            threats,
        )
        for p, v, threats in (("jpeg", 0.3, ("jpeg",)), ("codesr", 0.5, ("codesr", "codesr, CDL")))
    ]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in docs.firmest(tables)[2:]]
    assert [row[1] for row in rows] == ["codesr", "codesr, CDL", "jpeg"]
    assert [row[5].split()[0] for row in rows] == ["0.50", "0.50", "0.30"] and [
        row[6] for row in rows
    ] == [
        "0.55",
        "0.55",
        "0.45",
    ]


def test_the_package_says_of_effects_what_was_measured(docs: ModuleType) -> None:
    measured = importlib.import_module("measured")
    kept = json.loads(measured.MEASURED.read_text(encoding="utf-8"))
    assert kept == measured.content(ROOT / "results" / "tiny"), "run python benchmarks/measured.py"
    verdicts = {
        (row["protection"], row["budget"]): {a["attacker"]: a["works"] for a in row["attackers"]}
        for row in kept["measured"]
    }
    # of small budget, best and methods, as they stand in docs/protections.md
    assert verdicts["pid", 6.4] == {
        "plain": False,
        "with transformations": False,
        "JPEG 75": False,
    }
    spared = [a for a, works in verdicts["pid", 11].items() if not works]
    assert spared == ["codesr", "gridpure", "jpeg_and_resize", "learned"]
    assert not verdicts["sds", 11]["with transformations"]


def test_the_table_with_most_people_says_what_works(docs: ModuleType) -> None:
    measured = importlib.import_module("measured")
    few = found("ablation", {"none": 0.9, "advdm": 0.9}, ("plain",))
    cells = tuple(
        replace(
            cell,
            against_clean=estimate({s: {0: [-0.5]} for s in "abc"}),
            against_noise=estimate({s: {0: [-0.5]} for s in "abc"}),
        )
        for cell in few.cells
    )
    weak = tuple(
        replace(
            cell,
            against_clean=estimate({"a": {0: [0.5]}}),
            against_noise=estimate({"a": {0: [0.5]}}),
        )
        for cell in few.cells
    )
    tables = {"a": replace(few, cells=weak), "b": replace(few, cells=cells)}
    for order in (tables, dict(reversed(tables.items()))):
        (row,) = measured.measured(order)
        assert row["protection"] == "advdm" and row["people"] == 3
        assert row["attackers"] == [{"attacker": "plain", "people": 3, "seeds": 1, "works": True}]
    assert measured.measured({"things": few}) == []


def test_the_drawing_shows_the_rooms_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    rooms = importlib.import_module("rooms")
    shown = rooms.drawn((ROOT / rooms.DRAWING).read_text(encoding="utf-8"))
    assert shown == rooms.layers(ROOT), "run python benchmarks/rooms.py"
