"""The board: its entries are what was measured, a bad one is refused, and the page shows them."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from helpers import own_methods
from helpers.pages import browser, opened, said

from cloakwork import cli, registry
from cloakwork.benchmark import recipes
from cloakwork.benchmark.board import folder, judged, make, page
from cloakwork.benchmark.board.citation import citation
from cloakwork.benchmark.board.entry import Entry, Gap, Interval, Measured
from cloakwork.benchmark.grids import Grid, Table, threat_model
from cloakwork.errors import UserError
from cloakwork.evaluation.design import Subject
from cloakwork.evaluation.sources import source
from cloakwork.workflows.bench import bench
from cloakwork.workflows.board import board

ROOT = Path(__file__).parents[2]
BOARD = ROOT / "board"


@pytest.fixture(scope="module")
def committed() -> dict[str, Entry]:
    return {entry.method: entry for entry in folder.read_all(BOARD)}


# ---- the entries of the repository


def test_the_boards_entries_are_those_of_the_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    script = importlib.import_module("board")
    folder.write(script.entries(ROOT / "results" / "tiny"), tmp_path)
    made, kept = (
        {file.name: file.read_text(encoding="utf-8") for file in place.glob("*.json")}
        for place in (tmp_path, BOARD)
    )
    assert sorted(made) == sorted(kept), "run python benchmarks/board.py"
    assert not [name for name in made if made[name] != kept[name]], "run python benchmarks/board.py"


def test_every_protection_has_an_entry_and_every_entry_fits_the_schema(
    committed: dict[str, Entry],
) -> None:
    assert {name for name, _ in registry.listing("protections")} <= set(committed)
    schema = json.loads((BOARD / folder.SCHEMA).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    for file in BOARD.glob("[!s]*.json"):
        jsonschema.validate(json.loads(file.read_text(encoding="utf-8")), schema)
    with pytest.raises(jsonschema.ValidationError, match="versoin"):
        jsonschema.validate(asdict(committed["pid"]) | {"versoin": 1}, schema)


def test_a_number_keeps_the_version_that_it_was_measured_with(committed: dict[str, Entry]) -> None:
    ours = committed["cloakwork"]
    measured = judged.main(ours.measured)
    assert measured and measured.version < ours.version and judged.OLDER in ours.flags
    assert f"VERSION {measured.version}; now {ours.version}" in page.page([ours])


def test_no_effect_is_said(committed: dict[str, Entry]) -> None:
    assert {judged.NO_BETTER_THAN_NOISE, judged.NEVER_PURIFIED} <= set(
        committed["dct_shield"].flags
    )
    assert judged.GONE in committed["aspl"].flags
    assert committed["adaptive"].unreliable == "too few photos: 3 photo sets, fewer than 6"


def test_who_made_a_protection() -> None:
    authors, paper = citation(registry.load("protections", "mist"))
    assert authors == "Liang and Wu" and paper and paper.arxiv == "2305.12683"
    assert citation(registry.load("protections", "noise")) == ("cloakwork", None)


# ---- what measurements say together


def measured(mean: float, purifiers: str = "", **more: Any) -> Measured:
    """A measurement of which clean photos give .9 and noise .8."""
    clean, noise = (Gap(mean - c, mean - c - 0.1, mean - c + 0.1, 0.03) for c in (0.9, 0.8))
    usual = Measured(
        judged.MAIN if not purifiers else purifiers,
        "dreambooth",
        purifiers,
        "tiny",
        judged.BUDGET,
        judged.METRIC,
        "higher",
        Interval(mean, max(0, mean - 0.1), min(1, mean + 0.1)),
        clean,
        noise,
        6,
        1,
        96,
        1024,
        1,
        clean.high < 0 and noise.high < 0,
        (),
        "",
        "",
        "table",
        "0" * 12,
        "1" * 12,
    )
    return replace(usual, **more)


def test_an_entry_stands_for_what_can_be_compared() -> None:
    few, loud = measured(0.05, people=3), measured(0.01, budget=16.0)
    assert judged.main([few, loud, main := measured(0.2)]) is main
    assert judged.main([measured(0.2, "jpeg")]) is None
    lean = [measured(x, threat=name) for x, name in ((0.1, "lean"), (0.3, "plain"))]
    assert judged.main(lean) is lean[1], "of those that cannot, the one that gets most"
    assert not judged.comparable(lean[1]) and judged.comparable(main)


def test_what_holds_holds_after_every_purifier() -> None:
    held = measured(0.5, "gridpure")
    assert (worst := judged.worst([held])) and worst.works
    # a purifier that spoils clean photos as well: the attacker gets less, and nothing is shown
    clean = Gap(-0.05, -0.15, 0.05, 0.4)
    spoilt = measured(0.4, "codesr", against_clean=clean, works=False)
    worst = judged.worst([held, spoilt])
    assert worst and worst.purifiers == "gridpure" and worst.works is False


def test_the_worst_purifier_is_at_the_boards_budget() -> None:
    tried = [measured(0.3, "jpeg"), measured(0.72, "gridpure"), measured(0.9, "tvm", budget=4.0)]
    worst = judged.worst(tried)
    assert worst and (worst.purifiers, worst.tried, worst.clean, worst.noise) == (
        "gridpure",
        2,
        0.9,
        0.8,
    )
    assert worst.works is False, "noise gives .8, and .72 is within .1 of it"
    assert judged.doubts(tried[1]) == [judged.NO_BETTER_THAN_NOISE]
    assert judged.flags([measured(0.2), *tried], 2, control=False) == (
        judged.GONE,
        judged.OLDER,
    )
    again = measured(0.5, "jpeg", threat="jpeg, CDL")
    assert judged.purifiers([measured(0.1), *tried, again]) == 2, "attackers are not purifiers"
    alone = judged.worst([measured(0.9, "tvm", budget=4.0)])
    assert alone and alone.budget == 4.0


# ---- entries that are refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "2"}, "version is a text; allowed is a whole number"),
        ({"authors": None}, "authors is None; allowed is a text"),
        ({"versoin": 2}, "it has no field versoin; there are format, method"),
        ({"format": 99}, "has format 99; this one reads 1. Update cloakwork"),
        ({"method": "pidd"}, "the entry of pidd must be called pidd.json"),
        ({"paper": {"title": "x", "arxiv": "abc"}}, "paper.arxiv is 'abc'; it must be an arXiv"),
        ({"paper": {"title": "x"}}, "paper.arxiv is missing"),
        ({"flags": []}, "flags is not what the measurements say; it must be"),
        ({"measured": []}, "unreliable is empty; it must say a reason, such as 'nothing was"),
        ({"version": 0}, "was measured with VERSION 1, and the method has 0 now"),
    ],
)
def test_a_bad_entry_is_refused_with_a_sentence(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    content = json.loads((BOARD / "pid.json").read_text(encoding="utf-8")) | change
    (tmp_path / "pid.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=re.escape(said)) as refused:
        folder.read_all(tmp_path)
    assert all(str(tmp_path / "pid.json") in sentence for sentence in refused.value.sentences)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("score", {"mean": 0.1, "low": 0.2, "high": 0.3}, "has a score of 0.1, which is not"),
        ("score", {"mean": 1.1, "low": 0.2, "high": 1.3}, "has a share of 0.2 to 1.3"),
        ("score", None, "must have either a score or, in failed, the reason"),
        ("score", 0.1, "score is a number; allowed is"),
        ("works", False, "has works False; by its intervals it is True"),
        ("people", 0, "rests on 0 people and"),
        ("better", "less", "better is a text; allowed is higher, lower or"),
    ],
)
def test_a_bad_measurement_is_found(field: str, value: Any, said: str, tmp_path: Path) -> None:
    content = json.loads((BOARD / "pid.json").read_text(encoding="utf-8"))
    content["measured"][1][field] = value
    (tmp_path / "pid.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=re.escape("measured[1]")) as refused:
        folder.read_all(tmp_path)
    assert any(said in sentence for sentence in refused.value.sentences), refused.value


def test_what_is_no_entry_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="holds no entries"):
        folder.read_all(tmp_path)
    (tmp_path / "a.json").write_text("{")
    words = ["bench", "board", "--entries", str(tmp_path), "-o", str(tmp_path / "out")]
    assert cli.main(words) == 2 and "a.json is no entry of the board" in capsys.readouterr().err
    assert cli.main(["bench", "quick", "--entries", str(tmp_path)]) == 2
    assert cli.main(["bench", "quick", "--method", "pid"]) == 2
    assert "has its own methods" in capsys.readouterr().err


# ---- somebody's own method


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with the package own_lab."""
    own_methods.build(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("own_lab")]:
        del sys.modules[name]


def found_of(files: list[Path], out: Path, budget: float = 16) -> Any:
    """Findings of own_lab.darker against two attackers, of whom one purifies."""
    people = tuple(Subject(f.stem, source([f]), source([f]), 0, source([f])) for f in files)
    threats = tuple(
        threat_model(name, "own_lab.copier", prompts=("a photo",), purifiers=chain)
        for name, chain in (("copier", ""), ("purifier", "own_lab.brighten"))
    )
    methods, scored = ("own_lab.darker",), ("own_lab.brightness",)
    table = Table("lab", methods, threats, people, scored, budget=budget)
    return bench(Grid("board", "", (table,)), out, device="cpu")


def test_an_entry_of_a_method_of_ones_own(own: Path, sample_files: list[Path]) -> None:
    written = board(own / "out", BOARD, found_of(sample_files, own / "bench"))
    mine = folder.read_entry(own / "out" / "entries" / "own_lab_darker.json")
    assert mine.version == 1 and not mine.control and mine.authors == ""
    assert mine.unreliable == "too few photos: 3 photo sets, fewer than 6"
    # every pixel is darker by 16/255, and random signs cancel out
    plain, purified = sorted(mine.measured, key=lambda m: m.purifiers)
    assert plain.against_clean and plain.works is True
    assert plain.against_clean.mean == pytest.approx(-16 / 255, abs=0.01)
    assert mine.worst and mine.worst.purifiers == purified.purifiers == "own_lab.brighten"
    assert mine.change and mine.change.linf and mine.change.linf.mean == pytest.approx(16, abs=0.01)
    assert mine.cost and mine.cost.photos == 1
    entries = [e.method for e in folder.read_all(own / "out" / "entries")]
    assert entries == ["noise", "none", "own_lab.darker"], "the controls beside it"
    text = written.read_text(encoding="utf-8")
    assert 'data-value="own_lab.darker"' in text and "too few photos" in text and ">pid<" in text
    assert not any(str(own) in file.read_text() for file in (own / "out").rglob("*.*"))


def test_a_recipes_hash_is_that_of_what_was_run(own: Path, sample_files: list[Path]) -> None:
    def hashes(files: list[Path], out: str, budget: float = 16) -> set[tuple[str, str]]:
        (entry,) = make.entries([found_of(files, own / out, budget)], ["own_lab.darker"])
        return {(m.recipe, m.photos) for m in entry.measured}

    def recipes_of(pairs: set[tuple[str, str]]) -> set[str]:
        return {recipe for recipe, _ in pairs}

    first = hashes(sample_files, "one")
    assert len(first) == 2 and hashes(sample_files, "again") == first
    fewer = hashes(sample_files[:2], "fewer")
    assert recipes_of(fewer) == recipes_of(first) and fewer != first, "the same on other photos"
    assert not recipes_of(hashes(sample_files, "quieter", 8)) & recipes_of(first)
    place = own / "own_lab" / "darker.py"
    place.write_text(place.read_text().replace("budget: float = 8", "budget: float = 9"))
    for name in [n for n in sys.modules if n.startswith("own_lab")]:
        del sys.modules[name]
    assert not recipes_of(hashes(sample_files, "changed")) & recipes_of(first), "another source"


def test_the_recipe_asks_for_a_method_and_takes_photos_of_people(
    sample_files: list[Path], tmp_path: Path
) -> None:
    recipe = recipes.find(["board"])["board"]
    with pytest.raises(UserError, match="Name it with --method"):
        recipes.build("board", recipe)
    lean = recipes.build("board", recipe, methods=("pid",), models={"tiny": "sd-folder"})
    assert lean.tables[0].surrogates == (lean.tables[0].threat_models[0].victim,) == ("sd-folder",)
    for person, part in (("ann", "set_A"), ("ann", "set_B")):
        (tmp_path / "identities" / person / part).mkdir(parents=True)
        shutil.copy(sample_files[0], tmp_path / "identities" / person / part)
    whole = recipes.build("board", recipe, tmp_path, methods=("pid",))
    assert [t.name for t in whole.tables] == ["learned", "edits", "purified"]
    assert judged.MAIN in [t.name for t in whole.tables[0].threat_models]
    assert judged.EDIT == whole.tables[1].threat_models[0].name
    assert sum(bool(t.purifiers) for t in whole.tables[2].threat_models) == 6


@pytest.mark.slow
def test_the_command_makes_an_entry(own: Path, small_name: str) -> None:
    words = ["bench", "board", "--method", "own_lab.darker", "--model", f"tiny={small_name}"]
    assert cli.main([*words, "-o", "out", "--device", "cpu"]) == 0
    mine = folder.read_entry(Path("out/board/entries/own_lab_darker.json"))
    assert mine.unreliable == "too few photos: 2 photo sets, fewer than 6"
    assert {m.threat for m in mine.measured} == {"DreamBooth", "DreamBooth after JPEG"}
    assert "own_lab" in Path("out/board/board.html").read_text(encoding="utf-8")


# ---- the page


def test_the_page_says_what_is_best_and_what_holds(committed: dict[str, Entry]) -> None:
    table = page.rows(committed.values())
    assert [row.entry.method for row in table[:2]] == ["none", "noise"]
    ranked = [row.main.score.mean for row in table if row.ranked and row.main and row.main.score]
    assert len(ranked) > 15 and ranked == sorted(ranked)
    assert "gridpure, CDL; worst of 3 purifiers, 6 attackers" in page.page([*committed.values()])
    best, purified = page.best(table), page.purified(table)
    first = next(row.entry.method for row in table if row.ranked)
    assert first in best.heading and best.good
    holding = [e for e in committed.values() if e.worst and e.worst.works and not e.unreliable]
    assert not holding and "none is shown to hold" in purified.heading
    survivor = replace(committed["aspl"], worst=judged.worst([measured(0.1, "jpeg")]))
    other = page.purified(page.rows([survivor, committed["none"]]))
    assert "aspl leaves less" in other.text and other.good


def test_the_page_loads_nothing(committed: dict[str, Entry]) -> None:
    hostile = replace(committed["pid"], about="<script>alert(1)</script>", authors='"><img src=x>')
    tags: list[tuple[str, dict[str, str | None]]] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append((tag, dict(attrs)))  # type: ignore[method-assign]
    text = page.page([*committed.values(), hostile])
    parser.feed(text)
    assert "<script>alert" not in text and "default-src 'none'" in text
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _ in tags}
    assert not [attrs for _, attrs in tags if "src" in attrs] and "@import" not in text
    linked = {attrs.get("href") or "" for _, attrs in tags if "href" in attrs}
    outside = [link for link in linked if not link.startswith("#")]
    assert outside and all(link.startswith("https://arxiv.org/abs/") for link in outside)


LOOK = """
const rows = () => [...document.querySelector("table.sortable").tBodies[0].rows];
const names = () => rows().filter((r) => !r.hidden).map((r) => r.cells[0].dataset.value);
const put = (id, value) => { document.getElementById(id).value = value;
  document.getElementById("filters").dispatchEvent(new Event("input")); };
const all = names().length;
put("words", "liang"); const liang = names();
put("words", ""); put("kind", "purified"); const purified = names();
document.querySelectorAll("table.sortable thead button")[2].click(); const sorted = names();
put("kind", ""); document.getElementById("variants").checked = false; put("words", "");
const methods = names();
tell({all, liang, purified, sorted, methods, told: document.getElementById("shown").textContent,
  fetched: performance.getEntriesByType("resource").length,
  wide: document.documentElement.scrollWidth, inner: innerWidth});
"""


@browser
def test_the_page_in_a_browser(committed: dict[str, Entry], tmp_path: Path) -> None:
    page.write(list(committed.values()), tmp_path / "board.html")
    for width in (390, 1440):
        shown, console = opened(tmp_path / "board.html", tmp_path, width, LOOK)
        found = said(shown)
        assert console == [] and found["fetched"] == 0
        assert found["inner"] == width and found["wide"] <= width
        assert found["all"] == len(committed)
        assert found["liang"] == ["mist", "advdm", "advdm:tiny-minus"]
        assert "aspl" in found["purified"] and "simac" not in found["purified"]
        told = [e for e in committed.values() if e.worst and not e.unreliable]
        worst = {e.method: e.worst.score.mean for e in told if e.worst.budget in (0, judged.BUDGET)}
        assert worst[found["sorted"][0]] == min(worst.values())
        assert "photoguard" in found["methods"] and not [n for n in found["methods"] if ":" in n]
        assert found["told"] == f"{len(found['methods'])} of {len(committed)} rows"
