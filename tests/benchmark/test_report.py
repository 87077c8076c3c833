from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from helpers import made_up
from helpers.pages import browser, opened, said
from PIL import Image

from cloakwork.benchmark import grids
from cloakwork.benchmark.collect import collect
from cloakwork.benchmark.execution import serial
from cloakwork.benchmark.report import (
    blind_answers,
    blind_page,
    gallery,
    leaderboard,
    serialize,
    tables,
    thumbnails,
    wording,
    write,
)
from cloakwork.benchmark.results import Flag, Reported, Results
from cloakwork.errors import UserError
from cloakwork.evaluation import compute
from cloakwork.evaluation.design import attack_step
from cloakwork.evaluation.statistics import Estimate
from cloakwork.evaluation.steps import Workspace
from cloakwork.files import SAMPLE_PHOTOS
from cloakwork.purifiers import jpeg

HOSTILE = '<script>alert("x")</script>&_%$#{}$\\no$'
NOTHING = Estimate(math.nan, math.nan, math.nan, 0, 0, 0)


class Page(HTMLParser):
    """What a reader of the page, or a browser, would find in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags, self.path, self.words, self.captions = text, [], [], [], 0
        self.feed(text.replace("<wbr>", ""))

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append((tag, dict(attrs), tuple(self.path)))
        if tag not in ("meta", "link", "img", "br", "input"):
            self.path.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.path:
            while self.path.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.path):
            self.words.append((data, tuple(self.path)))

    def all(self, *names: str) -> list[tuple[str, dict]]:
        return [(tag, attrs) for tag, attrs, _ in self.tags if tag in names]

    @property
    def seen(self) -> str:
        return " ".join(" ".join(data for data, _ in self.words).split())


def written(found: Results, out: Path, **more) -> Page:
    write.write(found, out, **more)
    return Page((out / "report.html").read_text())


def loads(page: Page) -> list[str]:
    """Everything in a page that would make a browser fetch something outside it."""
    found = [
        attrs.get(name, "")
        for _, attrs, _ in page.tags
        for name in ("src", "href", "srcset", "poster", "action", "data")
    ]
    found += re.findall(r"url\(\s*['\"]?([^)'\"]+)", page.text) + re.findall(
        r"@import[^;]*", page.text
    )
    return [f for f in found if f and not f.startswith(("#", "data:"))]


def test_all_files_are_written(tmp_path: Path) -> None:
    files = write.write(made_up.findings(), tmp_path)
    assert all(f.is_file() and f.stat().st_size for f in files)
    names = {str(f.relative_to(tmp_path)) for f in files}
    kinds = ("faces", "faces-stealth", "faces-worst", "cost")
    assert names == {"report.html", "ab.html", "findings.json"} | {
        f"tables/{k}.{e}" for k in kinds for e in ("csv", "tex")
    }
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(
        files
    )  # and nothing half-written beside them


def test_results_from_before_a_metric_of_stealth_load(tmp_path: Path) -> None:
    """They have no column for it, and no reasons."""
    found = made_up.findings()
    content = json.loads(serialize.dump(found))
    for table in content["findings"]["tables"]:
        del table["stealth_unscored"]
    again = serialize.load(json.dumps(content))
    assert again.tables == found.tables
    page = written(again, tmp_path)
    columns = [m for m in ("lpips", "noticed") if f"{m} lower is less visible" in page.seen]
    assert columns == ["lpips"] and not [
        a for _, a in page.all("span") if a.get("class") == "failed"
    ]


def test_the_page_has_its_parts(tmp_path: Path) -> None:
    page = written(made_up.findings(), tmp_path)
    ids = {attrs["id"] for _, attrs, _ in page.tags if "id" in attrs}
    assert {"main", "summary", "table-1", "flags", "cost", "columns", "made"} <= ids
    assert {attrs["href"][1:] for _, attrs in page.all("a")} <= ids  # no link leads nowhere
    assert "Measured on tiny. Nothing here says anything of other models" in page.seen
    assert (
        "Under plain, 2 of 3 protections leave the attacker less than clean photos and than noise "
        "do, by match: cloakwork and pid" in page.seen
    )
    assert "Fewer than 6 photo sets: indicative only" in page.seen
    assert "Two photo sets: indicative only." in page.seen
    assert "73ea99ffabf2" in page.seen
    assert (
        "Whether a picture shows the subject" in page.seen
    )  # what a column means, from the metric's own help


def test_a_page_can_be_read_by_all(tmp_path: Path) -> None:
    page = written(
        made_up.findings(made_up.table(), made_up.table("things", {"plain": ""})), tmp_path
    )
    levels = [int(tag[1]) for tag, _ in page.all("h1", "h2", "h3", "h4", "h5")]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))
    assert len(page.all("table")) == len(page.all("caption")) > 5
    assert all(attrs.get("scope") in ("col", "row") for _, attrs in page.all("th"))
    assert [tag for tag, _ in page.all("header", "nav", "main", "footer")] == [
        "header",
        "nav",
        "main",
        "footer",
    ]
    assert page.all("html")[0][1]["lang"] == "en"
    assert all(
        attrs["aria-hidden"] == "true" for _, attrs in page.all("svg")
    )  # said by the figure round it
    assert (
        sum(
            attrs.get("role") == "img" and bool(attrs.get("aria-label"))
            for _, attrs in page.all("figure", "div")
        )
        == 3
    )
    assert page.all("a")[0][1] == {"class": "skip", "href": "#main"}
    ids = [attrs["id"] for _, attrs, _ in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_nothing_is_loaded(tmp_path: Path) -> None:
    for name in ("report", "ab"):
        write.write(made_up.findings(), tmp_path)
        page = Page((tmp_path / f"{name}.html").read_text())
        assert loads(page) == []
        assert "http:" not in page.text and "https:" not in page.text
        policy = next(attrs["content"] for _, attrs in page.all("meta") if "http-equiv" in attrs)
        assert (
            policy.startswith("default-src 'none'; img-src data:;")
            and "'unsafe-inline'; script-src 'sha256-" in policy
        )


def test_what_failed_says_so(tmp_path: Path) -> None:
    gone = {"mean": None, "against_clean": None, "against_noise": None}
    table = made_up.changed(
        made_up.table(),
        "pid",
        "match",
        **gone,
        failed="one, seed 0: the gradient was not a number.",
    )
    table = made_up.changed(table, "glaze", "identity", **gone | {"mean": NOTHING})
    page = written(made_up.findings(table), tmp_path)
    board = page.text[page.text.index("Leaderboard of faces under plain") :].partition("</table>")[
        0
    ]
    lines = {re.search(r'data-value="([^"]*)"', line)[1]: line for line in board.split("<tr")[2:]}
    assert list(lines)[-1] == "pid"  # what has no number comes last
    assert re.search(r'<td class="verdict failed" data-value="failed">\s*failed', lines["pid"])
    note = '<a href="#table-1-attacker-1-note-1">'
    assert re.search(
        rf'<td data-value="">\s*<span class="failed">failed</span> {note}', lines["pid"]
    )
    assert re.search(r'<td data-value="">\s*<span class="failed">unscored</span>', lines["glaze"])
    assert not any(number in lines["pid"] for number in ("0.00", "0.0<", "nan"))
    assert "failed: one, seed 0: the gradient was not a number." in page.seen
    assert "2 cells of 30 have no number." in page.seen
    assert "0.44 or worse" in re.sub(r"\s+", " ", page.seen).replace(
        "0.44 [0.39, 0.49] gridpure+jpeg (cleaner) or worse", "0.44 or worse"
    )
    left = list(csv.DictReader(io.StringIO((tmp_path / "tables/faces.csv").read_text())))
    lost = next(
        r
        for r in left
        if (r["protection"], r["metric"], r["threat_model"]) == ("pid", "match", "plain")
    )
    assert (lost["mean"], lost["low"], lost["works"]) == ("", "", "") and "gradient" in lost[
        "failed"
    ]
    assert r"pid & \emph{failed}" in (tmp_path / "tables/faces.tex").read_text()


def test_the_verdict_is_that_of_the_cell() -> None:
    board = leaderboard.leaderboard(made_up.table(), "plain")
    assert [(r.protection, r.verdict) for r in board] == [
        ("none", "control"),
        ("noise", "control"),
        ("cloakwork", "yes"),
        ("pid", "yes"),
        ("glaze", "no"),
    ]
    turned = [
        replace(c, metric="match", better="lower", mean=made_up.about(1 - c.mean.mean))
        for c in made_up.table().cells
        if c.metric == "match"
    ]
    upside_down = replace(made_up.table(), cells=tuple(turned))
    assert [r.protection for r in leaderboard.leaderboard(upside_down, "plain")] == [
        "none",
        "noise",
        "cloakwork",
        "pid",
        "glaze",
    ]


def test_the_worst_case_is_named() -> None:
    worst = {w.protection: w for w in leaderboard.worst_cases(made_up.table())}
    assert (worst["pid"].worst.threat_model, worst["pid"].worst.purifiers) == (
        "cleaner",
        "gridpure+jpeg",
    )
    assert worst["pid"].worst.mean.mean == pytest.approx(0.44)
    assert {
        chain: round(c.mean.mean, 2) for chain, c in worst["cloakwork"].by_purifiers.items()
    } == {"": 0.21, "jpeg:quality=75": 0.26, "gridpure+jpeg": 0.31}
    lost = made_up.changed(made_up.table(), "pid", "match", "recoder", mean=None, failed="gone")
    found = {w.protection: w for w in leaderboard.worst_cases(lost)}
    assert (
        found["pid"].by_purifiers["jpeg:quality=75"] is None
        and not found["pid"].whole
        and found["glaze"].whole
    )
    assert leaderboard.worst_cases(made_up.table(threats={"plain": ""})) == []


def test_figures_are_the_page_s_own(tmp_path: Path) -> None:
    turned = replace(made_up.table(), metrics=("identity", "match"))  # better when lower
    page = written(
        made_up.findings(
            turned, made_up.changed(made_up.table("one"), "pid", "match", mean=None, failed="gone")
        ),
        tmp_path,
    )
    figures = re.findall(r"<svg.*?</svg>", page.text, re.S)
    assert len(figures) == 4
    for figure in figures:
        assert "currentColor" in figure and not re.search(
            r"#000000\b|fill: ?#ffffff|<style|<metadata|xmlns", figure
        )
    assert "Heat map of faces: identity of the worst attacker" in page.text
    assert [w.worst.threat_model for w in leaderboard.worst_cases(turned)] == ["cleaner"] * 5


def test_names_are_text_everywhere(tmp_path: Path) -> None:
    left = made_up.LEFT | {HOSTILE: 0.3}
    table = replace(
        made_up.table(left=left, threats={HOSTILE: "", "other": HOSTILE}),
        about=HOSTILE,
        subjects=(HOSTILE,),
    )
    table = made_up.changed(
        table, "pid", "match", HOSTILE, mean=None, failed=HOSTILE, flags=(HOSTILE,)
    )
    table = made_up.changed(
        table, "glaze", "match", HOSTILE, reported=(Reported(0.5, HOSTILE, HOSTILE, HOSTILE),)
    )
    found = replace(
        made_up.findings(table),
        name=HOSTILE,
        flags=(Flag(HOSTILE, HOSTILE, HOSTILE),),
        made={HOSTILE: {HOSTILE: [HOSTILE]}},
    )
    page = written(found, tmp_path)
    assert (
        len(page.all("script")) == 1
        and len(Page((tmp_path / "ab.html").read_text()).all("script")) == 0
    )
    assert page.seen.count('<script>alert("x")</script>') > 10
    latex = (tmp_path / "tables/faces.tex").read_text()
    assert (
        r"\textless{}script\textgreater{}alert" in latex
        and r"\&\_\%\$\#\{\}" in latex
        and "<script" not in latex
    )


def test_reported_stands_beside_measured(tmp_path: Path) -> None:
    found = (Reported(0.42, "Anti-DreamBooth, table 1", "Stable Diffusion 2.1", "other faces"),)
    table = made_up.changed(made_up.table(), "pid", "match", reported=found)
    page = written(made_up.findings(table), tmp_path)
    assert "match 0.42 on Stable Diffusion 2.1: Anti-DreamBooth, table 1; other faces" in page.seen
    latex = (tmp_path / "tables/faces.tex").read_text()
    assert r"pid & 0.34 {\footnotesize [0.29, 0.39]} {\footnotesize (reported 0.42)} &" in latex
    assert "Reported: Anti-DreamBooth, table 1 (Stable Diffusion 2.1)." in latex
    assert (
        "0.42 (Anti-DreamBooth, table 1, Stable Diffusion 2.1, other faces)"
        in (tmp_path / "tables/faces.csv").read_text()
    )


def test_flags_lead_to_their_words(tmp_path: Path) -> None:
    table = made_up.changed(
        made_up.table(), "pid", "match", flags=("few photo sets", "attacker fails")
    )
    page = written(made_up.findings(table), tmp_path)
    assert sum(attrs.get("class") == "tag" for _, attrs in page.all("a")) == 2
    everywhere = replace(
        table, cells=tuple(replace(c, flags=("few photo sets", *c.flags[1:])) for c in table.cells)
    )
    page = written(made_up.findings(everywhere), tmp_path)
    assert sum(attrs.get("class") == "tag" for _, attrs in page.all("a")) == 2
    assert "Flags of every cell: few photo sets" in page.seen
    quiet = written(replace(made_up.findings(), flags=()), tmp_path)
    assert (
        "No check has raised a flag. That means that the checks found nothing, not that nothing is "
        "wrong." in quiet.seen
    )


def test_same_findings_same_bytes(tmp_path: Path) -> None:
    first, second = (write.write(made_up.findings(), tmp_path / name) for name in "ab")
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in second]


def test_findings_come_back(tmp_path: Path) -> None:
    table = made_up.changed(
        made_up.table(),
        "pid",
        "match",
        mean=None,
        against_clean=None,
        failed="gone",
        flags=("failed",),
    )
    table = made_up.changed(
        table, "glaze", "match", mean=NOTHING, reported=(Reported(math.inf, "a", "b"),)
    )
    found = replace(
        made_up.findings(table), made={"a": [1, {"b": -math.inf}], "float": {"float": "none"}}
    )
    write.write(found, tmp_path)
    again = write.read(tmp_path / "findings.json")
    assert repr(again) == repr(found)  # NaN is not equal to itself
    assert again.tables[0].cells[4].mean is None and math.isnan(
        next(c for c in again.tables[0].cells if c.protection == "glaze").mean.mean
    )
    json.loads(
        (tmp_path / "findings.json").read_text(), parse_constant=pytest.fail
    )  # no NaN that only Python reads


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 1, "findings": {}}',
        '{"format": 1, "findings": {"tables": [{}]}}',
    ],
)
def test_no_findings_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match="holds no findings"):
        write.read(tmp_path / "x.json")


def test_newer_and_missing_findings_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"format": 99, "made_by": "9.9", "findings": {}}')
    with pytest.raises(UserError, match=r"written by cloakwork 9\.9"):
        write.read(tmp_path / "x.json")
    with pytest.raises(UserError, match="cannot be read"):
        write.read(tmp_path / "none.json")


def test_tables_for_programs_and_papers(tmp_path: Path) -> None:
    write.write(made_up.findings(), tmp_path)
    found = list(csv.DictReader(io.StringIO((tmp_path / "tables/faces.csv").read_text())))
    assert len(found) == 3 * 5 * 2
    pid = next(
        r
        for r in found
        if (r["protection"], r["metric"], r["threat_model"]) == ("pid", "match", "recoder")
    )
    assert float(pid["mean"]) == pytest.approx(0.39) and float(pid["low"]) == pytest.approx(0.34)
    assert (
        float(pid["against_noise_mean"]) == pytest.approx(0.39 - 0.88)
        and pid["against_noise_p"] == "0.031"
    )
    assert (pid["purifiers"], pid["victim"], pid["works"], pid["control"]) == (
        "jpeg:quality=75",
        "tiny",
        "yes",
        "no",
    )
    latex = (tmp_path / "tables/faces.tex").read_text()
    assert (
        latex.count(r"\toprule") == latex.count(r"\bottomrule") == 1
        and latex.count(r"\midrule") == 3
    )
    assert (
        r"pid & 0.34 {\footnotesize [0.29, 0.39]} & 0.564 {\footnotesize [0.514, 0.614]} & yes \\"
        in latex
    )
    caption = next(line for line in latex.splitlines() if "caption" in line)
    assert all(
        part in caption
        for part in (
            "2 photo sets",
            "2 seeds",
            "96 pictures",
            "95 \\% intervals",
            "attackers use tiny",
        )
    )
    width = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", latex)[1])
    assert all(
        line.count("&") == width - 1
        for line in latex.splitlines()
        if line.endswith(r"\\") and "multicolumn" not in line
    )
    worst = list(csv.DictReader(io.StringIO((tmp_path / "tables/faces-worst.csv").read_text())))
    assert [r for r in worst if r["protection"] == "pid"][-1]["threat_model"] == "cleaner"


def test_tables_of_like_names_have_files_of_their_own() -> None:
    taken: set[str] = {"cost"}
    assert [tables.slug(n, taken) for n in ("A b", "a/b", "cost", "../..", "é")] == [
        "a_b",
        "a_b_2",
        "cost_2",
        "table",
        "table_2",
    ]


def test_numbers_read_well() -> None:
    assert [
        wording.number(v) for v in (0.1234, 1.234, 12.34, 123.4, -0.5, -0.0001, math.nan, math.inf)
    ] == ["0.123", "1.23", "12.3", "123", "−0.500", "0.000", "unscored", "∞"]
    assert (
        wording.number(0.126, "share", signed=True) == "+0.13"
        and wording.number(0.0001, "share", signed=True) == "0.00"
    )


# ---- pictures


@pytest.fixture(scope="session")
def ground(
    tmp_path_factory: pytest.TempPathFactory, small_name: str
) -> tuple[grids.Grid, Workspace]:
    """A small grid of two things, computed but for its last attacker."""
    folder = tmp_path_factory.mktemp("ground")
    samples = SAMPLE_PHOTOS
    for name in ("chelsea", "coffee"):
        (folder / "data" / name).mkdir(parents=True)
        for i in range(2):
            photo = (
                Image.open(samples / f"{name}.png")
                .convert("RGB")
                .crop((40 * i, 0, 40 * i + 260, 220))
            )
            photo.save(folder / "data" / name / f"{i}.png")
    lean = "dreambooth:steps=2,class_images=1,sampling.steps=2"
    threats = tuple(
        grids.threat_model(name, lean, purifiers=p, pictures=2, dtype="float32", victim=small_name)
        for name, p in (("plain", ""), ("again", "jpeg"))
    )
    table = grids.Table(
        "things", ("pid:steps=2", "noise"), threats, grids.things(folder / "data"), ("clip_i",)
    )
    bench = Workspace(folder / "store", "cpu")
    done = grids.Grid("small", "Small.", (replace(table, threat_models=threats[:1]),))
    assert not serial.serial(grids.targets(done), bench).failed
    return grids.Grid("small", "Small.", (table,)), bench


def test_pictures_are_those_of_the_store(
    ground: tuple[grids.Grid, Workspace], tmp_path: Path
) -> None:
    grid, bench = ground
    before = sorted(Path(bench.store).rglob("*"))
    page = written(collect(grid, bench), tmp_path, grid=grid, workspace=bench)
    assert sorted(Path(bench.store).rglob("*")) == before  # nothing was computed
    shown = page.all("img")
    # of each set: a clean photo, noise and pid with their changes, and two prompts under each of
    # the three
    assert len(shown) == 2 * (1 + 2 + 2 + 3 * 2)
    assert all(
        len(attrs["alt"]) > 20 and attrs["src"].startswith("data:image/webp;base64,")
        for _, attrs in shown
    )
    assert "What pid:steps=2 changed in it, amplified 12 times around grey" in page.text
    assert "has not been computed" in page.seen
    assert loads(page) == []


def test_photos_are_shown_as_purifiers_leave_them(
    ground: tuple[grids.Grid, Workspace], tmp_path: Path
) -> None:
    """From the store alone, and only of attackers who purify."""
    (table,), bench = ground[0].tables, Workspace(tmp_path, "cpu")
    plain, again = table.threat_models
    line = next(iter(grids.lines(table)))
    subject = line.subjects[0]
    assert thumbnails.purified_photos(line, subject, again, bench) is None
    compute.make(attack_step(subject.clean, subject, again, 0).inputs[0], bench)
    found = thumbnails.purified_photos(line, subject, again, bench)
    originals = compute.photos(subject.clean, bench)
    want = jpeg.purify(originals, None, jpeg.Config(), rng=torch.Generator())
    assert found and all(torch.equal(a, b) for a, b in zip(found, want, strict=True))
    assert thumbnails.purified_photos(line, subject, plain, bench) is None
    shown = thumbnails.inline_purified(subject, again, found[0])
    assert shown.title == "after jpeg" and "learns from, after jpeg" in shown.alt


def test_what_is_not_in_the_store_is_said(
    ground: tuple[grids.Grid, Workspace], tmp_path: Path
) -> None:
    grid, _ = ground
    bench = Workspace(tmp_path / "empty", "cpu")
    shown = gallery.gallery(collect(grid, bench), grid, bench, 10**7)
    strips = {s.protection: s for s in shown.sets[0].strips}
    assert strips["none"].missing == ("what plain got",) and len(strips["none"].photos) == 1
    assert strips["pid:steps=2"].missing == ("the photos", "what plain got")
    assert not list((tmp_path / "empty").rglob("*.safetensors"))
    assert blind_page.pairs(grid, bench, 10**7) == []


def test_pictures_keep_their_budget(
    ground: tuple[grids.Grid, Workspace], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, bench = ground
    found = collect(grid, bench)
    whole = gallery.gallery(found, grid, bench, 10**7)
    sizes = [strip.size for s in whole.sets for strip in s.strips]
    assert len(sizes) == 6 and not whole.notes
    part = gallery.gallery(found, grid, bench, sum(sizes[:4]))
    assert [strip.size for s in part.sets for strip in s.strips] == sizes[:4]
    note = "To keep the file small these are left out: coffee (2 rows of things)."
    assert part.notes == (note,)
    monkeypatch.setattr(write, "PICTURES", 40_000)
    page = written(found, tmp_path, grid=grid, workspace=bench)
    assert sum(len(attrs["src"]) for _, attrs in page.all("img")) <= 40_000 < sum(sizes)
    assert "left out: " in page.seen


def test_a_damaged_result_is_not_shown_and_not_made_again(
    ground: tuple[grids.Grid, Workspace], tmp_path: Path
) -> None:
    grid, bench = ground
    shutil.copytree(bench.store, tmp_path / "store")
    for attack in (tmp_path / "store" / "attack").glob("*.safetensors"):
        attack.write_bytes(b"damaged")
    again = Workspace(tmp_path / "store", "cpu")
    with pytest.warns(UserWarning, match="is not what its record says"):
        shown = gallery.gallery(collect(grid, again), grid, again, 10**7)
    assert all(strip.missing == ("what plain got",) for s in shown.sets for strip in s.strips)


# ---- the blind page


def test_the_blind_page_tells_nothing(ground: tuple[grids.Grid, Workspace], tmp_path: Path) -> None:
    grid, bench = ground
    found = blind_page.pairs(grid, bench, 10**7)
    assert {(p.task, p.protection) for p in found} == {
        (t, p) for t in blind_answers.TASKS for p in ("noise", "pid:steps=2")
    }
    assert blind_page.pairs(grid, bench, 10**7) == found
    for task in blind_answers.TASKS:  # as often left as right
        assert sum(p.answer == "left" for p in found if p.task == task) == sum(
            p.answer == "right" for p in found if p.task == task
        )
    text = blind_page.page(made_up.findings(), found)
    data = re.search(r'<script type="application/json" id="study">(.*?)</script>', text)[1]
    study = json.loads(data)
    text = re.sub(r"base64,[\w+/=]+", "", text)  # where any three letters may stand
    assert (
        "pid" not in text
        and "noise" not in text
        and set(study["pairs"][0]) == {"task", "left", "right", "reference"}
    )
    assert len({p.left.title + p.left.alt for p in found}) == 1
    assert loads(Page(text)) == []


def test_pairs_show_the_same_place(ground: tuple[grids.Grid, Workspace]) -> None:
    grid, bench = ground
    pair = next(
        p
        for p in blind_page.pairs(grid, bench, 10**7)
        if p.task == "seen" and p.protection == "noise"
    )
    assert (
        (pair.left.width, pair.left.height)
        == (pair.right.width, pair.right.height)
        == (blind_page.SIDE, blind_page.SIDE)
    )
    one, two = (_pixels(s.uri) for s in (pair.left, pair.right))
    apart = max(abs(a - b) for a, b in zip(one, two, strict=True))
    assert apart == 11  # noise of the table's budget, and nothing lost on the way


def _pixels(uri: str) -> bytes:
    import base64

    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB").tobytes()


def answers(
    path: Path, given: list[tuple[str, str, bool, float]], who: str = "p1", page: str = "x"
) -> Path:
    told = [
        {"pair": str(i), "task": t, "protection": p, "right": r, "seconds": s}
        for i, (t, p, r, s) in enumerate(given)
    ]
    path.write_text(json.dumps({"format": 1, "page": page, "participant": who, "answers": told}))
    return path


def test_answers_are_counted(tmp_path: Path) -> None:
    one = answers(
        tmp_path / "1.json",
        [("seen", "pid", i < 9, 3.0) for i in range(10)] + [("seen", "pid", True, 0.4)],
        "p1",
    )
    two = answers(
        tmp_path / "2.json",
        [("seen", "pid", i < 6, 3.0) for i in range(10)] + [("likeness", "pid", True, 2.0)],
        "p2",
    )
    found = blind_answers.analyse([one, two])
    seen, likeness = found.shares
    assert (seen.task, seen.protection, seen.right, seen.n) == ("seen", "pid", 15, 20)
    # Wilson 1927 and the binomial by their textbook forms, worked out apart from the package
    assert (seen.low, seen.high) == (
        pytest.approx(0.531299, abs=1e-6),
        pytest.approx(0.888138, abs=1e-6),
    )
    assert seen.p == pytest.approx(2 * 21700 / 2**20)
    assert (likeness.right, likeness.n, likeness.p) == (1, 1, 1.0)
    assert found.participants == {
        "p1": {"seen": (9, 10)},
        "p2": {"likeness": (1, 1), "seen": (6, 10)},
    }
    assert found.notes[0] == "Left out: 1 answer in under 1 second."
    assert "  pid: 15 of 20 = 0.75 [0.53, 0.89], p = 0.041" in list(found.lines())


def test_an_answer_given_twice_counts_once(tmp_path: Path) -> None:
    early = answers(tmp_path / "1.json", [("seen", "pid", False, 3.0)])
    late = answers(tmp_path / "2.json", [("seen", "pid", True, 3.0), ("seen", "pid", True, 3.0)])
    found = blind_answers.analyse([early, late])
    assert (found.shares[0].right, found.shares[0].n) == (2, 2)
    assert any("more than one file" in note for note in found.notes)


def test_what_are_no_answers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    odd = answers(tmp_path / "b.json", [("smell", "pid", True, 3.0)])
    good = answers(tmp_path / "c.json", [("seen", "pid", True, 3.0)])
    with pytest.raises(UserError) as caught:
        blind_answers.analyse([tmp_path / "a.json", odd, good, tmp_path / "none.json"])
    assert [Path(s.split(" holds")[0]).name for s in caught.value.sentences] == [
        "a.json",
        "b.json",
        "none.json",
    ]
    with pytest.raises(UserError, match="No answers were given"):
        blind_answers.analyse([])
    with pytest.raises(UserError, match="No answer is left"):
        blind_answers.analyse([answers(tmp_path / "d.json", [("seen", "pid", True, 0.2)])])


@pytest.mark.parametrize("right, n", [(0, 1), (5, 5), (3, 8), (50, 100)])
def test_intervals_and_p_of_shares(right: int, n: int) -> None:
    low, high = blind_answers.wilson(right, n)
    assert 0 <= low <= right / n <= high <= 1
    for end in {low, high} - {0.0, 1.0}:  # the score test is exactly at its limit at either end
        assert abs(right / n - end) / math.sqrt(end * (1 - end) / n) == pytest.approx(
            1.959964, abs=1e-5
        )
    odds = [math.comb(n, k) / 2**n for k in range(n + 1)]
    assert blind_answers.binomial(right, n) == pytest.approx(
        sum(o for o in odds if o <= odds[right] * (1 + 1e-9))
    )


# ---- in a browser


LOOK = """
const table = document.querySelector("table.sortable");
const buttons = table.querySelectorAll("thead button");
const names = () => [...table.tBodies[0].rows].map((r) => r.cells[0].dataset.value);
const state = () => [names(), buttons[2].closest("th").getAttribute("aria-sort")];
buttons[2].click(); const up = state(); buttons[2].click(); const down = state();
buttons[0].click();
const fetched = performance.getEntriesByType("resource").map((e) => e.name);
tell({up, down, byName: names(), wide: document.documentElement.scrollWidth, inner: innerWidth,
  fetched: fetched.filter((name) => !name.startsWith("data:"))});
"""


@browser
def test_the_report_in_a_browser(tmp_path: Path, ground: tuple[grids.Grid, Workspace]) -> None:
    lost = made_up.changed(made_up.table(), "pid", "match", mean=None, failed="gone")
    wide = made_up.table("things", left=made_up.LEFT | {"a_long_name:" + "of_fields=1," * 9: 0.4})
    grid, bench = ground
    write.write(made_up.findings(lost, wide), tmp_path, grid=grid, workspace=bench)
    page, console = opened(tmp_path / "report.html", tmp_path)
    assert (
        console == [] and page.count("<button") > 20
    )  # the script ran under the page's own policy
    for width in (390, 1440):
        page, console = opened(tmp_path / "report.html", tmp_path, width, LOOK)
        found = said(page)
        assert console == [] and found["fetched"] == []
        assert found["inner"] == width and found["wide"] <= width
        assert found["up"] == [["cloakwork", "glaze", "noise", "none", "pid"], "ascending"]
        assert found["down"] == [["none", "noise", "glaze", "cloakwork", "pid"], "descending"]
        assert found["byName"] == sorted(made_up.LEFT)


ANSWER = """
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
(async () => {
  document.getElementById("begin").click();
  let file;
  URL.createObjectURL = (blob) => { file = blob; return "#"; };
  URL.revokeObjectURL = () => {};
  while (document.getElementById("end").hidden) {
    await pause(1200);
    dispatchEvent(new KeyboardEvent("keydown", { key: "1" }));
  }
  const kept = JSON.parse(localStorage.getItem("cloakwork-ab-" + study.page)).answers.length;
  download();
  tell({ kept, text: await file.text(), wide: document.documentElement.scrollWidth });
})();
"""


@browser
def test_the_blind_page_in_a_browser(tmp_path: Path, ground: tuple[grids.Grid, Workspace]) -> None:
    grid, bench = ground
    write.write(made_up.findings(), tmp_path, grid=grid, workspace=bench)
    pairs = blind_page.pairs(grid, bench, 10**7)
    page, console = opened(tmp_path / "ab.html", tmp_path)
    assert console == [] and re.search(r'<section id="start" aria-labelledby="start-title">', page)
    page, console = opened(tmp_path / "ab.html", tmp_path, 390, ANSWER)
    found = said(page)
    assert console == [] and found["kept"] == len(pairs) and found["wide"] <= 390
    told = json.loads(found["text"])["answers"]
    assert [(a["task"], a["protection"], a["right"]) for a in told] == [
        (p.task, p.protection, p.answer == "left") for p in pairs
    ]
    (tmp_path / "answers.json").write_text(found["text"])
    shares = blind_answers.analyse([tmp_path / "answers.json"]).shares
    assert sum(s.n for s in shares) == len(pairs) and sum(s.right for s in shares) == sum(
        p.answer == "left" for p in pairs
    )
