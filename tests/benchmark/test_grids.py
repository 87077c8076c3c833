"""Grids: what they are made of, what comes out, and what makes it doubtful (each fault planted)."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import own_methods
from safetensors.torch import load_file, save_file

from cloakwork.benchmark import grids, recipes
from cloakwork.benchmark.collect import collect
from cloakwork.benchmark.execution import serial
from cloakwork.benchmark.execution.failures import Failure
from cloakwork.benchmark.execution.serial import Expected
from cloakwork.benchmark.flags import add_flags
from cloakwork.benchmark.grids import Grid, Table, lines, targets, threat_model
from cloakwork.benchmark.recipes.quick import quick
from cloakwork.benchmark.report import write
from cloakwork.benchmark.results import Results
from cloakwork.cli import main
from cloakwork.cli.expected import in_words
from cloakwork.errors import UserError
from cloakwork.evaluation import steps
from cloakwork.evaluation.design import Subject, ThreatModel
from cloakwork.evaluation.sources import source
from cloakwork.evaluation.statistics import Estimate
from cloakwork.evaluation.steps import Workspace
from cloakwork.workflows.bench import forget, only

Run = Callable[..., tuple[Results, Grid, Workspace]]


@pytest.fixture(scope="module", autouse=True)
def own_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("own")
    own_methods.build(folder)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.fixture
def people(sample_files: list[Path]) -> tuple[Subject, ...]:
    """Three photo sets of one photo."""
    sets = [(f.stem, source([f])) for f in sample_files]
    return tuple(Subject(name, photos, photos, 0, photos) for name, photos in sets)


def copier(
    label: str = "copier", attacker: str = "own_lab.copier", **circumstances: object
) -> ThreatModel:
    return threat_model(label, attacker, prompts=("a photo",), **circumstances)  # type: ignore[arg-type]


@pytest.fixture
def run(people: tuple[Subject, ...], tmp_path: Path) -> Run:
    def of(
        *protections: str, threat_models: tuple[ThreatModel, ...] | None = None, **table: object
    ) -> tuple[Results, Grid, Workspace]:
        table = {"metrics": ("own_lab.brightness",)} | table
        made = Table("lab", protections, threat_models or (copier(),), people, **table)  # type: ignore[arg-type]
        grid, bench = (
            recipes.check_grid(Grid("lab", "A test.", (made,))),
            Workspace(tmp_path / "store", "cpu"),
        )
        outcome = serial.serial(targets(grid), bench)
        failures = outcome.reasons()
        found = collect(grid, bench, failures)
        return add_flags(found, grid, bench, failures), grid, bench

    return of


def kinds(found: Results) -> dict[str, list[str]]:
    """Kind of flag -> where."""
    places: dict[str, list[str]] = {}
    for flag in found.flags:
        places.setdefault(flag.kind, []).append(flag.where)
    return places


def test_encoders_alone_may_be_the_surrogates(run: Run) -> None:
    found, _, _ = run("pid:tiny:steps=1@sd3:tiny+tiny")
    assert found.made["weights"]["sd3:tiny"] != found.made["weights"]["tiny"]


def test_a_table_has_its_controls_and_pairs_them(run: Run, people: tuple[Subject, ...]) -> None:
    found, grid, _ = run("own_lab.darker", "own_lab.idle", budget=16, rival="own_lab.darker")
    (table,) = found.tables
    assert table.protections == ("none", "noise", "own_lab.darker", "own_lab.idle")
    cells = {c.protection: c for c in table.cells}
    darker, none, idle = cells["own_lab.darker"], cells["none"], cells["own_lab.idle"]
    assert none.budget == 0 and none.against_clean is None and darker.budget == 16
    assert (
        darker.against_clean
        and darker.against_clean.mean == pytest.approx(-16 / 255, abs=0.02)
        and darker.works
    )
    assert (
        darker.against_rival is None
        and idle.against_rival
        and idle.against_rival.mean == pytest.approx(16 / 255, abs=0.02)
    )
    assert idle.works is False and none.works is None
    assert table.stealth["own_lab.darker"]["linf"].mean == pytest.approx(16, abs=1e-4)
    assert {c.kind for c in found.costs} == {"protect", "attack", "score"} and all(
        c.steps for c in found.costs
    )
    assert [s.name for s in grid.tables[0].subjects] == [s.name for s in people]


def test_a_metric_of_stealth_without_its_network_says_so(run: Run, tmp_path: Path) -> None:
    found, _, _ = run("own_lab.darker", stealth=("linf", "noticed", "dists"))
    (table,) = found.tables
    by = table.stealth["own_lab.darker"]
    assert set(by) == {"linf", "noticed", "dists"} and by["noticed"].mean > 1
    assert math.isnan(by["dists"].mean) and set(table.stealth_unscored) == {"dists"}
    assert "has no VGG16 of its own" in table.stealth_unscored["dists"]
    write.write(found, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "dists is unscored: &#39;dists&#39; has no VGG16 of its own" in page


def test_budgets_of_their_own_have_noise_of_their_own(people: tuple[Subject, ...]) -> None:
    table = Table(
        "t", ("own_lab.darker", "own_lab.darker:budget=3"), (copier(),), people, budget=None
    )
    assert [(line.protection, line.budget) for line in lines(table)] == [
        ("none", 0),
        ("noise 8", 8),
        ("noise 3", 3),
        ("own_lab.darker", 8),
        ("own_lab.darker:budget=3", 3),
    ]


def test_what_failed_is_failed_and_not_zero(run: Run) -> None:
    found, _, _ = run(
        "own_lab.darker", threat_models=(copier(), copier("broken", "own_lab.broken"))
    )
    broken = [c for c in found.tables[0].cells if c.threat_model == "broken"]
    assert len(broken) == 3 and all(
        c.mean is None and "The kettle is empty" in c.failed for c in broken
    )
    assert all(c.status == "failed" for c in broken)
    assert all(c.mean and not c.status for c in found.tables[0].cells if c.threat_model == "copier")
    assert len(kinds(found)["failed"]) >= 1 and all("failed" in c.flags for c in broken)


def test_what_cannot_be_scored_is_no_failure(people: tuple[Subject, ...], tmp_path: Path) -> None:
    grid = Grid("lab", "", (Table("lab", (), (copier(),), people, ("own_lab.blind",)),))
    bench = Workspace(tmp_path / "store", "cpu")
    assert not serial.serial(targets(grid), bench).failed
    found = add_flags(collect(grid, bench), grid, bench)
    assert all(
        c.status == "unscored"
        and c.unscored
        and c.mean is None
        and c.failed == "The metric gave no number."
        for c in found.tables[0].cells
    )
    assert "unscored" in kinds(found) and "failed" not in kinds(found)


def test_what_was_never_computed_says_so(people: tuple[Subject, ...], tmp_path: Path) -> None:
    grid = Grid(
        "lab",
        "",
        (Table("lab", ("own_lab.darker",), (copier(),), people, ("own_lab.brightness",)),),
    )
    cells = collect(grid, Workspace(tmp_path / "empty", "cpu")).tables[0].cells
    assert cells and all(c.failed.endswith("it has not been computed.") for c in cells)


def test_no_fault_no_flag_but_for_few_photo_sets(run: Run) -> None:
    found, _, _ = run("own_lab.darker")
    assert set(kinds(found)) == {"few photo sets"}
    assert kinds(run("own_lab.darker", budget=0)[0]).keys() == {"few photo sets"}, (
        "a budget of 0 is the same as none"
    )


def test_six_photo_sets_are_enough(people: tuple[Subject, ...], tmp_path: Path) -> None:
    six = tuple(replace(s, name=f"{s.name} {i}") for i in range(2) for s in people)
    grid = Grid("lab", "", (Table("lab", (), (copier(),), six, ("own_lab.brightness",)),))
    bench = Workspace(tmp_path / "store", "cpu")
    serial.serial(targets(grid), bench)
    assert not add_flags(collect(grid, bench), grid, bench).flags


def test_an_attacker_who_fails_on_clean_photos_is_flagged(run: Run) -> None:
    found, grid, bench = run("own_lab.darker")
    low = Estimate(0.1, 0.0, 0.2, 3, 1, 3)
    (table,) = found.tables
    cells = tuple(replace(c, metric="match", mean=low) for c in table.cells)
    planted = add_flags(replace(found, tables=(replace(table, cells=cells),)), grid, bench)
    assert kinds(planted)["attacker fails"] and all(
        "attacker fails" in c.flags for c in planted.tables[0].cells
    )
    well = tuple(replace(c, mean=replace(low, mean=0.9)) for c in cells)
    assert "attacker fails" not in kinds(
        add_flags(replace(found, tables=(replace(table, cells=well),)), grid, bench)
    )


def test_chance_that_no_seed_rules_is_flagged_at_budget_0(run: Run) -> None:
    found, _, _ = run(
        "own_lab.darker", budget=0, threat_models=(copier("gambler", "own_lab.gambler"),)
    )
    assert kinds(found)["budget 0"] == ["lab: noise / gambler", "lab: own_lab.darker / gambler"]


def test_a_photo_beyond_the_budget_is_flagged(run: Run) -> None:
    found, grid, bench = run("own_lab.darker")
    step = lines(grid.tables[0]).__next__().subjects[0].protected
    path = bench.results.folder / steps.name_of(step, bench)  # type: ignore[arg-type]
    photos = {k: (v.int() // 2).to(torch.uint8) for k, v in load_file(path).items()}
    path.with_suffix(".record.json").unlink()
    save_file(photos, path)
    planted = add_flags(found, grid, bench)
    assert (
        kinds(planted)["over budget"] == ["lab: own_lab.darker / copier"]
        and "its budget is 11" in planted.flags[0].text
    )


@pytest.mark.parametrize(
    ("protection", "text"),
    [
        ("own_lab.idle", "changed no pixel at a budget of 11"),
        ("own_lab.flat", "a gradient of zero in 9 of its PGD steps"),
        ("own_lab.nan", "not finite"),
    ],
)
def test_a_gradient_that_leads_nowhere_is_flagged(run: Run, protection: str, text: str) -> None:
    found, _, _ = run(protection)
    (flag, *_) = [f for f in found.flags if f.kind == "no gradient"]
    assert text in flag.text
    if protection == "own_lab.nan":
        cells = [c for c in found.tables[0].cells if c.protection == protection]
        assert flag.text.startswith(f"{protection}: ") and "UserError: A gradient" in flag.text
        assert cells and all("no gradient" in c.flags for c in cells)


def test_a_failure_is_flagged_by_its_kind_and_not_by_its_words(run: Run) -> None:
    _, grid, bench = run("own_lab.darker", "own_lab.nan")
    todo = steps.graph(targets(grid), bench, missing=True)
    for kind in ("not_finite", "other"):
        failures = {name: Failure("A kettle that is not finite.", kind) for name in todo}
        again = add_flags(collect(grid, bench, failures), grid, bench, failures)
        flagged = {c.protection for c in again.tables[0].cells if "no gradient" in c.flags}
        assert flagged == ({"own_lab.nan"} if kind == "not_finite" else set())


def test_a_purifier_that_costs_as_much_as_it_gains_is_flagged(run: Run) -> None:
    found, _, _ = run(
        "own_lab.darker",
        threat_models=(
            copier(),
            copier("dim", purifiers="own_lab.dim"),
            copier("bright", purifiers="own_lab.brighten"),
        ),
    )
    assert kinds(found)["harmful purifier"] == ["lab: own_lab.darker / dim"]
    assert kinds(found)["adaptive attacker"] == ["lab: own_lab.darker / bright"]
    flagged = {(c.protection, c.threat_model): c.flags for c in found.tables[0].cells}
    assert (
        "harmful purifier" in flagged["own_lab.darker", "dim"]
        and "harmful purifier" not in flagged["none", "dim"]
    )


def test_a_protection_that_helps_the_attacker_is_flagged(run: Run) -> None:
    (found, grid, bench), helped = run("own_lab.darker"), Estimate(0.2, 0.1, 0.3, 3, 1, 3)
    assert "helps the attacker" not in kinds(found), "the attacker gets less"
    (table,) = found.tables
    for gap, flagged in ((helped, True), (replace(helped, low=-0.1), False)):
        cells = tuple(
            replace(c, against_clean=gap) if c.protection == "own_lab.darker" else c
            for c in table.cells
        )
        planted = add_flags(replace(found, tables=(replace(table, cells=cells),)), grid, bench)
        where = kinds(planted).get("helps the attacker", [])
        assert where == (["lab: own_lab.darker / copier"] if flagged else [])


def test_a_worst_case_that_noise_may_leave_as_well_is_flagged(run: Run) -> None:
    washers = [copier(name, purifiers=f"own_lab.{name}") for name in ("dim", "brighten")]
    found, grid, bench = run("own_lab.darker", threat_models=(copier(), *washers))
    (table,) = found.tables
    assert "worst case within noise" not in kinds(found), "every pixel is darker than with noise"
    for planted, flagged in (("brighten", True), ("dim", False), ("copier", False)):
        cells = tuple(
            replace(c, against_noise=Estimate(-0.1, -0.3, 0.0, 3, 1, 3))
            if (c.protection, c.threat_model) == ("own_lab.darker", planted)
            else c
            for c in table.cells
        )
        again = add_flags(replace(found, tables=(replace(table, cells=cells),)), grid, bench)
        where = kinds(again).get("worst case within noise", [])
        assert where == (["lab: own_lab.darker / brighten"] if flagged else [])


def test_an_attacker_who_may_succeed_is_not_said_to_fail(run: Run) -> None:
    found, grid, bench = run("own_lab.darker")
    (table,) = found.tables
    low = Estimate(0.1, 0.0, 0.2, 3, 1, 3)
    for other in (replace(low, high=0.5), replace(low, mean=0.6, high=0.9)):
        cells = tuple(
            replace(c, metric="match", mean=low if c.protection == "none" else other)
            for c in table.cells
        )
        if other.mean == low.mean:
            cells = tuple(replace(c, mean=other) for c in cells)
        planted = add_flags(replace(found, tables=(replace(table, cells=cells),)), grid, bench)
        assert "attacker fails" not in kinds(planted)


def test_a_purifier_that_costs_nothing_is_not_called_harmful(run: Run) -> None:
    idle = copier("idle", purifiers="own_lab.brighten:by=0.0")
    found, _, _ = run("own_lab.darker", threat_models=(copier(), idle))
    assert "harmful purifier" not in kinds(found)


def test_edits_are_not_compared_with_one_another(run: Run) -> None:
    found, _, _ = run(
        "own_lab.darker",
        threat_models=(copier(), copier("bright", purifiers="own_lab.brighten:by=0.5")),
        metrics=("linf",),
    )
    assert "adaptive attacker" not in kinds(found), (
        "each is compared with its own pictures of clean photos"
    )
    assert all(c.mean and c.mean.mean == 0 for c in found.tables[0].cells if c.protection == "none")


def test_tables_that_lack_something_are_refused_together(people: tuple[Subject, ...]) -> None:
    one = Table("a", (), (copier(), copier()), people)
    with pytest.raises(UserError) as error:
        recipes.check_grid(Grid("lab", "", (one, replace(one, threat_models=()))))
    assert len(error.value.sentences) == 3
    with pytest.raises(UserError, match="no table of 'lab' 'x'"):
        only(Grid("lab", "", (one,)), ["x"])


def test_folders_of_people_and_of_things(tmp_path: Path, sample_files: list[Path]) -> None:
    for folder in ("people/ann/set_A", "people/ann/set_B", "things/rc_car2"):
        (tmp_path / folder).mkdir(parents=True)
        for file in sample_files:
            (tmp_path / folder / file.name).write_bytes(file.read_bytes())
    (ann,) = grids.sets(tmp_path / "people")
    assert (ann.name, ann.noun, len(ann.clean.files), len(ann.references.files)) == (
        "ann",
        "person",
        3,
        6,
    )
    (car,) = grids.sets(tmp_path / "things")
    assert (car.noun, len(car.clean.files), len(car.references.files)) == ("rc car", 2, 3)
    for bad, text in (
        (tmp_path / "none", "no folder"),
        (tmp_path / "things/rc_car2", "no photos of things"),
    ):
        with pytest.raises(UserError, match=text):
            grids.sets(bad)


def test_quick_has_two_photo_sets_and_a_control(tmp_path: Path) -> None:
    grid = recipes.build("quick", quick)
    bench = Workspace(tmp_path, "cpu")
    counted = {(e.kind, e.name): e.steps for e in serial.expect(targets(grid), bench)}
    assert counted["attack", "dreambooth"] == 20 and counted["attack", "sdedit"] == 8
    assert not list(tmp_path.rglob("*.safetensors")), "a dry run computes nothing"


def write_recipe(folder: Path, module: str, body: str) -> None:
    (folder / f"{module}.py").write_text(body)


MINE = """def raises():
    raise ValueError("no luck")
def wrong(data):
    return 3
def quick():
    pass
def empty():
    from cloakwork.benchmark.grids import Grid
    return Grid("mine", "", ())
def folder_of(data):
    from cloakwork.benchmark.grids import sets
    return sets(data)
def hollow(data):
    from cloakwork.benchmark.grids import Grid, Table
    return Grid("mine", "", (Table("t", (), (), sets(data) if data else (), ("lpips",)),))
"""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "No recipe was named; name one of"),
        (["quik"], "There is no recipe 'quik'; did you mean 'quick'?"),
        (["tiny"], "The recipe 'tiny' needs photo sets"),
        (
            ["--recipe", "bench_mine.raises"],
            "The recipe 'raises' raised ValueError: no luck (bench_mine.py, line 2)",
        ),
        (
            ["--recipe", "bench_mine.wrong"],
            "The recipe 'wrong' returned int. It must return a cloakwork.benchmark.grids.Grid.",
        ),
        (["--recipe", "bench_mine.absent"], "The module 'bench_mine' has no function 'absent'"),
        (["--recipe", "nowhere.grid"], "There is no module 'nowhere'"),
        (
            ["--recipe", "bench_mine.raises", "--recipe", "other.raises"],
            "Two recipes are called 'raises': other.raises and bench_mine.raises",
        ),
        (["quick", "--recipe", "bench_mine.quick"], "Two recipes are called 'quick'"),
        (["--recipe", "bench_mine.empty"], "The recipe 'mine' has no table"),
        (["--recipe", "bench_mine.folder_of"], "If it needs some, name a folder with --data."),
        (["--recipe", "bench_mine.hollow"], "If it needs some, name a folder with --data."),
        (["quick", "--table", "Attakcers"], "did you mean 'Attackers'?"),
        (["quick", "--threads", "0"], "There cannot be 0 threads"),
        (["quick", "--workers", "2"], "The engine serial has neither an address nor workers"),
        (["quick", "--model", "tiny"], "write --model NAME=OTHER"),
        (["quick", "--data", "nowhere"], "There is no folder nowhere"),
    ],
)
def test_bad_input_is_one_sentence(
    words: list[str],
    sentence: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path, "bench_mine", MINE)
    write_recipe(tmp_path, "other", "def raises(): pass\n")
    assert main(["bench", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "bench-output").exists(), "nothing is left behind"


RECIPE = """
from pathlib import Path
from cloakwork.evaluation.design import Subject
from cloakwork.benchmark.grids import Grid, Table, threat_model
from cloakwork.evaluation.sources import source

def grid(data):
    sets = [(f.stem, source([f])) for f in sorted(Path(data).glob("*.png"))]
    subjects = tuple(Subject(n, s, s, 0, s) for n, s in sets)
    who = (threat_model("copier", "own_lab.copier", prompts=("a photo",)),)
    table = Table("lab", ("own_lab.darker",), who, subjects, ("own_lab.brightness",))
    return Grid("grid", "Mine.", (table,))
"""


def test_a_recipe_of_ones_own_runs_and_is_found_again(
    tmp_path: Path,
    sample_files: list[Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_recipe(tmp_path, "bench_lab", RECIPE)
    words = [
        "bench",
        "--recipe",
        "bench_lab.grid",
        "--data",
        str(sample_files[0].parent),
        "-o",
        "out",
    ]
    assert main([*words, "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "39 steps, 0 cached" in said and "39 steps have never been run" in said
    assert main(words) == 0
    assert "grid: 3 cells in 1 table, 0 without a number" in capsys.readouterr().out
    made = {p: p.read_bytes() for p in (tmp_path / "out/grid").rglob("*") if p.is_file()}
    assert {"report.html", "findings.json"} <= {p.name for p in made}
    how = json.loads((tmp_path / "out/grid/findings.json").read_text())["findings"]["made"]
    assert how["command"].startswith("cloakwork bench --recipe bench_lab.grid --data")
    assert re.fullmatch("bench_lab.grid, source [0-9a-f]+", how["recipe"])
    log = (tmp_path / "out/bench.log").read_text().splitlines()
    assert len(log) == 40 and " grid: 39 of 39 steps, score/" in log[38]
    assert main([*words, "--dry-run"]) == 0 and "39 steps, 39 cached" in capsys.readouterr().out
    assert main(words) == 0
    assert {p: p.read_bytes() for p in made} == made, "the same again, byte for byte"


def test_steps_are_made_anew_with_all_that_rests_on_them(run: Run) -> None:
    _, made, workspace = run("own_lab.darker")
    store = Path(workspace.store)

    def there() -> set[str]:
        return {p.parent.name for p in store.glob("*/*.record.json")}

    whole = len(list(store.glob("*/*.record.json")))
    with pytest.raises(UserError, match=r"did you mean 'own_lab\.copier'"):
        forget(made, ["score", "own_lab.copyer"], store, "cpu")
    assert len(list(store.glob("*/*.record.json"))) == whole, "a mistake removes nothing"
    attacks = len(list((store / "attack").glob("*.record.json")))
    scores = len(list((store / "score").glob("*.record.json")))
    stealth = forget(made, ["score:own_lab.brightness"], store, "cpu")
    assert 0 < stealth < scores and there() == {"protect", "attack", "score"}
    assert forget(made, ["attack"], store, "cpu") == attacks
    assert there() == {"protect", "score"}, "stealth is measured on photos, not on attacks"
    assert not serial.serial(targets(made), workspace).failed
    assert len(list(store.glob("*/*.record.json"))) == whole


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([Expected("attack", "a", 3, 3, (2.0,))], "Nothing is left to do."),
        (
            [Expected("attack", "a", 3, 0, ())],
            "3 steps have never been run with this store, so nothing is known of their time.",
        ),
        (
            [Expected("attack", "a", 4, 1, (10.0, 20.0, 40.0)), Expected("score", "b", 2, 0, ())],
            "What is left takes one process about 60 s: 30 s to 2 min as the 3 earlier runs of "
            "such steps have it. "
            "2 steps have never been run with this store, so nothing is known of their time.",
        ),
        (
            [Expected("attack", "a", 4, 1, (10.0,))],
            "What is left takes one process about 30 s: 30 s to 30 s as the 1 earlier run of such "
            "steps has it. Some were run once only; they may take several times as long.",
        ),
    ],
)
def test_an_estimate_says_how_sure_it_is(rows: list[Expected], says: str) -> None:
    assert in_words(rows) == says


def test_changed_code_gives_new_numbers(
    tmp_path: Path, sample_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    shutil.copytree(own_methods.METHODS, tmp_path / "stale_lab")
    method, numbers = tmp_path / "stale_lab" / "darker.py", []
    photos = source(sample_files[:1])
    subject = Subject("one", photos, photos, 0, photos)
    for factor in (1, 1, 3):
        text = (own_methods.METHODS / "darker.py").read_text()
        method.write_text(text.replace("p - cfg.budget", f"p - {factor} * 0.3 * cfg.budget"))
        for name in [n for n in sys.modules if n.startswith("stale_lab")]:
            del sys.modules[name]
        table = Table(
            "lab", ("stale_lab.darker",), (copier(),), (subject,), ("own_lab.brightness",)
        )
        grid, bench = Grid("lab", "", (table,)), Workspace(tmp_path / "store", "cpu")
        made = serial.serial(targets(grid), bench).made
        cells = {c.protection: c for c in collect(grid, bench).tables[0].cells}
        numbers.append((len(made), cells["stale_lab.darker"].mean.mean))
    assert numbers[1] == (0, numbers[0][1]), "unchanged: nothing is made"
    assert 0 < numbers[2][0] < numbers[0][0] and numbers[2][1] < numbers[0][1] - 0.01


def test_a_full_disk_stops_the_grid_with_one_sentence(
    run: Run, people: tuple[Subject, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = Grid(
        "lab",
        "",
        (Table("lab", ("own_lab.darker",), (copier(),), people, ("own_lab.brightness",)),),
    )
    bench, kept = Workspace(tmp_path / "store", "cpu"), []
    real = Path.write_text

    def full(self: Path, *args: object, **kwargs: object) -> int:
        if "score" in self.parts and ".record." not in self.name:
            kept.append(self)
            raise OSError(28, "No space left on device")
        return real(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UserError, match="No space left on device"):
        serial.serial(targets(grid), bench)
    assert len(kept) == 1, "nothing more was tried"
    monkeypatch.undo()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*.safetensors")}
    assert before and not serial.serial(targets(grid), bench).failed
    assert all(p.stat().st_mtime_ns == t for p, t in before.items()), (
        "what was done is not done again"
    )


def test_numbers_of_a_table_say_what_they_are(run: Run) -> None:
    found, _, _ = run(
        "own_lab.darker",
        threat_models=(copier(), copier("both", purifiers="own_lab.dim:by=0.2+jpeg")),
    )
    cell = next(c for c in found.tables[0].cells if c.threat_model == "both")
    assert (cell.purifiers, cell.victim, cell.better) == (
        "own_lab.dim:by=0.2+jpeg",
        "tiny",
        "higher",
    )
    assert cell.mean and not math.isnan(cell.mean.mean)
    methods = found.made["methods"]
    assert methods["purify jpeg"].startswith("VERSION ") and "source" not in methods["purify jpeg"]
    assert ", source " in methods["protect own_lab.darker"] and found.made["dates"]["last step"]
    assert found.made["weights"].keys() == {"tiny"} and found.made["tables"]["lab"]["protections"][
        "own_lab.darker"
    ] == {"budget": 11}
