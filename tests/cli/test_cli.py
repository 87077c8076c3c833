"""The command line: what it understands, what it answers to mistakes, what it says at the end."""

from __future__ import annotations

import importlib
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

import cloakwork
from cloakwork import cli, registry, specs
from cloakwork.cli.progress import progress_bars
from cloakwork.errors import UserError
from cloakwork.files import ASSETS, SAMPLE_PHOTOS
from cloakwork.protections import pid
from cloakwork.registry import surrogate_needs
from cloakwork.state import RunState
from cloakwork.workflows.records import PhotoRecord, SetRecord

MINE = '''"""A protection of mine."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

VERSION = 1


@dataclass(frozen=True)
class Config:
    budget: float = 6.4
    """largest change of a pixel, 1/255"""
    pgd_steps: int = 9
    """Sign steps a round."""
    step: float | None = None
    """Change of a pixel per step, in 1/255; None: budget / 10."""
    loss: Literal["mean", "target"] = "mean"
    """What is raised."""
    targeted: bool = True
    """Pull towards a target."""


PRESETS = {"paper": Config(), "tiny": Config(budget=11, pgd_steps=2, targeted=False)}


def protect(photos, surrogates, cfg, *, clean, rng, state):
    return photos
'''


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the protection `bench.mine`."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "bench"]:
        del sys.modules[name]


class Jobs(ModuleType):
    """Stands where the jobs are and keeps what it was asked for, so that no model is needed to test
    flags."""

    def __init__(self, answer: Any = ()) -> None:
        super().__init__("cloakwork.workflows.protect")
        self.answer, self.asked = answer, {}

    def protect(self, photos: Any, out: Path, **asked: Any) -> Any:
        self.asked = {"photos": photos, "out": out, **asked}
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    stub = Jobs()
    monkeypatch.setitem(sys.modules, "cloakwork.workflows.protect", stub)
    return stub


def command(*words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(Path(cloakwork.__file__).parents[1])}
    program = [sys.executable, "-m", "cloakwork", *words]
    return subprocess.run(program, capture_output=True, text=True, env=environment, check=False)


def mine(*words: str) -> list[str]:
    return ["protect", "a.png", "-o", "safe", "--protection", "bench.mine", *words]


def test_list_answers_at_once() -> None:
    def cpu_seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert command("list").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert statistics.median(cpu_seconds() for _ in range(5)) < 0.5


def test_list_shows_every_method_with_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for kind in registry.KINDS:
        rows = registry.listing(kind)
        assert (kind in lines) == bool(rows)
        for name, text in rows:
            if kind == "protections":
                text += f" Against: {surrogate_needs.surrogates_in_words(name) or 'nothing'}."
            assert any(line.split() == [name, *text.split()] for line in lines)


def test_list_shows_one_kind(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "listing", lambda kind: [("one", f"of the {kind}")])
    assert cli.main(["list", "metrics"]) == 0
    assert capsys.readouterr().out == "metrics\n  one               of the metrics\n"


def test_list_shows_what_can_be_set_of_one_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "attackers", "dreambooth"]) == 0
    said = capsys.readouterr().out
    assert "presets: cdl, jpeg, paper, tiny, transformed" in said and "sampling.steps=25" in said
    assert '  cdl.noise="bhj noisy pattern"                 name of the noise' in said
    assert (
        specs.parse("attackers", said.splitlines()[-1].removeprefix("written ")).name
        == "dreambooth"
    )
    for kind in registry.KINDS:
        for name, _ in registry.listing(kind):
            assert cli.main(["list", kind, name]) == 0, name
            told = capsys.readouterr().out
            undocumented = [
                line
                for line in told.splitlines()
                if line.startswith("  ") and not line.partition("=")[2].strip()
            ]
            assert not undocumented and "presets: " in told


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["list", "--help"], ["--version"]])
def test_questions_are_answered(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert said.out
    assert not said.err


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([], "usage: cloakwork COMMAND"),
        (
            ["protct", "a.png"],
            "There is no command 'protct'; did you mean 'protect'? "
            "Known: protect, demo, try, audit, purify, inspect, attack, score, bench, undo, mine, "
            "list, check, learn-pattern, train-purifier, web, serve.",
        ),
        (["list", "protection"], "There is no kind 'protection'; did you mean 'protections'?"),
        (["list", "metrics", "psnrr"], "did you mean 'psnr'"),
        (["list", "metrics", "psnr", "ssim"], "at most one of the methods"),
        (["list", "recipes", "tiny"], "at most one of the methods"),
        (
            ["protect", "a.png", "-o", "safe", "--protection", "aspll"],
            "There is no protection 'aspll'",
        ),
        (
            ["protect", "a.png", "-o", "safe", "--protection", "bench.mnie"],
            "There is no module 'bench.mnie'",
        ),
        (mine("--buget", "3"), "--budget"),
        (mine("--pgd-step", "3"), "--pgd-steps"),
        (mine("--pgd-steps", "many"), "--pgd-steps"),
        (mine("--loss", "meen"), "mean"),
        (mine("--format", "gif"), "png"),
        (mine("--preset", "papr"), "There is no bench.mine preset 'papr'; did you mean 'paper'?"),
        (mine("--protection"), "--protection"),
        (mine("--refine", "few"), "--refine"),
        (mine("--refine=-3"), "refine -3: give a number of PGD steps"),
        (mine("--refine", "3"), "PGD cannot start from 'bench.mine'"),
        (["protect", "a.png", "--protection", "bench.mine"], "--out"),
        (["protect", "-o", "safe", "--protection", "bench.mine"], "No photos were given"),
        (["demo", "a.png", "--protection", "bench.mine"], "a.png"),
    ],
)
def test_mistakes_are_answered(
    words: list[str], answer: str, jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = cli.main(words)
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr()
    assert status == 2
    assert answer in said.err
    assert not said.out
    assert not jobs.asked


@pytest.mark.parametrize(
    "words",
    [["protct"], ["list", "what"], mine("--buget", "3"), ["protect", "--protection", "nope"]],
)
def test_the_process_ends_with_status_2_and_no_traceback(words: list[str]) -> None:
    done = command(*words)
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["list"],  # by print, many lines
        ["protect", "--help"],  # by tyro
        ["protect", "--list-presets", "--protection", "none"],  # by rich
    ],
)
def test_nobody_reading_on_is_no_fault(words: list[str]) -> None:
    """As in `cloakwork --help | head -1`, whose pipe is closed from the beginning here."""
    read, write = os.pipe()
    os.close(read)
    environment = {"PYTHONPATH": str(Path(cloakwork.__file__).parents[1])}
    program = [sys.executable, "-m", "cloakwork", *words]
    done = subprocess.run(
        program, stdout=write, stderr=subprocess.PIPE, text=True, env=environment, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_every_fault_has_a_line_of_its_own(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.answer = UserError("a.png is not there.", "b.png is no photo.")
    assert cli.main(mine()) == 2
    assert capsys.readouterr().err.splitlines() == ["a.png is not there.", "b.png is no photo."]


def test_stopping_says_how_to_go_on(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.answer = KeyboardInterrupt()
    assert cli.main(mine()) == 130
    assert (
        "Stopped. What is finished is whole; run the same command again to go on."
        in capsys.readouterr().err
    )


def test_stopping_says_how_far_it_came(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the third of five steps of the second of two photo sets."""
    for i, name in enumerate("ab"):
        (place / "in" / name).mkdir(parents=True)
        Image.new("RGB", (64, 64), (99 * i, 1, 2)).save(place / "in" / name / "x.png")
    calls: list[int] = []

    def slow(photos: Any, *_: Any, state: RunState, rng: Any, **__: Any) -> Any:
        for done in range(1, 6):
            calls.append(done)
            state.checkpoint(done, 5, rng, dict)
            # its loop was counted beforehand, once for both sets
            if len(calls) == 5 + 8:
                raise KeyboardInterrupt
        return photos

    monkeypatch.setattr(importlib.import_module("cloakwork.protections.none"), "protect", slow)
    assert cli.main(["protect", "in", "-o", "out", "--protection", "none"]) == 130
    assert capsys.readouterr().err == (
        "Stopped at step 3 of 5, in photo set 2 of 2. "
        "What is finished is whole; run the same command again to go on.\n"
    )


def test_defaults_are_as_agreed(jobs: Jobs) -> None:
    assert cli.main(mine()) == 0
    config, progress = jobs.asked.pop("config"), jobs.asked.pop("progress")
    assert callable(progress)
    assert jobs.asked.pop("say").func is print
    assert config.budget == 11
    assert jobs.asked == {
        "photos": ("a.png",),
        "out": Path("safe"),
        "protection": "bench.mine",
        "surrogates": ("tiny",),
        "seed": 0,
        "clean": None,
        "device": "auto",
        "dtype": "float32",
        "sample_posterior": False,
        "low_memory": False,
        "graphs": False,
        "each": False,
        "one_set": False,
        "suffix": ".png",
        "quality": None,
        "strip_metadata": False,
        "strip_gps": False,
        "force": False,
        "skip_bad": False,
        "sidecars": False,
        "mask": None,
        "faces": False,
        "for_width": None,
        "jpeg": None,
    }


def test_every_flag_arrives(jobs: Jobs) -> None:
    words = (
        "--surrogate tiny-b --surrogate me/model --seed 7 --clean c --device cpu --dtype bfloat16 "
        "--sample-posterior --low-memory --graphs --each --one-set"
    )
    words += " --format jpg --quality 80 --strip-metadata --strip-gps --force --skip-bad --sidecars"
    words += " --mask m.png --faces --for 1080 --jpeg 80"
    assert cli.main(mine(*words.split())) == 0
    for name in ("progress", "config", "say"):
        jobs.asked.pop(name)
    assert jobs.asked == {
        "photos": ("a.png",),
        "out": Path("safe"),
        "protection": "bench.mine",
        "surrogates": ("tiny-b", "me/model"),
        "seed": 7,
        "clean": Path("c"),
        "device": "cpu",
        "dtype": "bfloat16",
        "sample_posterior": True,
        "low_memory": True,
        "graphs": True,
        "each": True,
        "one_set": True,
        "suffix": ".jpg",
        "quality": 80,
        "strip_metadata": True,
        "strip_gps": True,
        "force": True,
        "skip_bad": True,
        "sidecars": True,
        "mask": Path("m.png"),
        "faces": True,
        "for_width": 1080,
        "jpeg": 80,
    }


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], (2, None, "mean", False)),
        (["--preset", "paper"], (9, None, "mean", True)),
        (["--preset=paper"], (9, None, "mean", True)),
        (["--surrogate", "me/model"], (9, None, "mean", True)),
        (["--surrogate", "me/model", "--preset", "tiny"], (2, None, "mean", False)),
        (["--surrogate", "tiny", "--surrogate", "tiny-b"], (2, None, "mean", False)),
        (
            ["--pgd-steps", "5", "--step", "0.5", "--loss", "target", "--targeted"],
            (5, 0.5, "target", True),
        ),
        (["--preset", "paper", "--no-targeted", "--step", "None"], (9, None, "mean", False)),
    ],
)
def test_the_methods_own_flags_start_from_the_preset(
    words: list[str], expected: tuple[Any, ...], jobs: Jobs
) -> None:
    assert cli.main(mine(*words)) == 0
    config = jobs.asked["config"]
    assert (config.pgd_steps, config.step, config.loss, config.targeted) == expected


def test_a_protection_is_named_with_its_settings(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["protect", "a.png", "--out", "safe", "--protection"]
    assert cli.main([*words, "bench.mine:paper:pgd_steps=7", "--loss", "target"]) == 0
    config = jobs.asked["config"]
    assert jobs.asked["protection"] == "bench.mine"
    assert (config.pgd_steps, config.loss, config.targeted) == (7, "target", True)
    assert cli.main([*words, "bench.mine:paper", "--preset", "tiny"]) == 2
    assert "--preset tiny is given beside bench.mine:paper" in capsys.readouterr().err


def test_pid_goes_on_from_a_protection_that_asks_no_model(jobs: Jobs) -> None:
    words = ["protect", "a.png", "--out", "safe", "--refine", "7", "--protection"]
    refined = replace(pid.PRESETS["refined"], steps=7)
    for spec, expected in (
        ("learned", refined),
        ("learned:budget=0,strength=faint", replace(refined, budget=0, strength="faint")),
        ("learned:side=512", replace(refined, start="learned:side=512")),
        ("noise", replace(refined, start="noise")),
    ):
        assert cli.main([*words, spec]) == 0
        assert jobs.asked["protection"] == "pid"
        assert jobs.asked["config"] == expected
    assert cli.main([*words, "learned:budget=8", "--budget", "6"]) == 0
    assert jobs.asked["config"] == replace(refined, budget=6)


def test_flags_may_stand_anywhere(jobs: Jobs) -> None:
    assert (
        cli.main(
            [
                "protect",
                "--protection=bench.mine",
                "--pgd-steps",
                "3",
                "a.png",
                "b.png",
                "--out",
                "safe",
            ]
        )
        == 0
    )
    assert jobs.asked["photos"] == ("a.png", "b.png")
    assert jobs.asked["config"].pgd_steps == 3


@pytest.mark.parametrize("name", ["protect", "demo"])
def test_help_shows_common_flags_and_the_methods(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--protection", "bench.mine", "--help"])
    assert stop.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    for part in (
        "--out",
        "--budget",
        "--surrogate",
        "A protection of mine.",
        "--pgd-steps",
        "Sign steps a round.",
        "paper",
    ):
        assert part in said


@pytest.mark.parametrize("name", [name for name, _ in registry.listing("protections")])
def test_every_protection_has_a_parser(name: str, jobs: Jobs) -> None:
    for preset in registry.load("protections", name).PRESETS:
        assert (
            cli.main(["protect", "a.png", "-o", "safe", "--protection", name, "--preset", preset])
            == 0
        )
        assert jobs.asked["config"] == registry.load("protections", name).PRESETS[preset]


def test_a_config_may_not_take_the_commands_flags(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "bench" / "clash.py").write_text(MINE.replace("pgd_steps", "seed"))
    assert cli.main(["protect", "a.png", "-o", "safe", "--protection", "bench.clash"]) == 2
    assert (
        "'bench.clash' has fields that are flags of the command already: seed."
        in capsys.readouterr().err
    )


def test_the_demo_protects_the_samples_again_and_again(jobs: Jobs) -> None:
    for _ in range(2):
        assert cli.main(["demo", "--protection", "bench.mine", "--budget", "5"]) == 0
        assert [Path(photo).parent for photo in jobs.asked["photos"]] == 5 * [SAMPLE_PHOTOS]
        assert jobs.asked["out"] == Path("demo-output")
        assert jobs.asked["force"]
        assert jobs.asked["config"].budget == 5
    assert cli.main(["demo", "-o", "elsewhere", "--protection", "bench.mine"]) == 0
    assert jobs.asked["out"] == Path("elsewhere")
    assert cli.main(["demo"]) == 0
    usual = specs.parse("protections", registry.DEFAULT_PROTECTION)
    assert (jobs.asked["protection"], jobs.asked["config"]) == (usual.name, usual.config)
    assert cli.main(["demo", "--protection", "strongest"]) == 0
    assert jobs.asked["protection"] == registry.STRONGEST_PROTECTION != usual.name
    assert cli.main(["demo", "--preset", "paper"]) == 0
    assert jobs.asked["config"] == registry.load("protections", usual.name).PRESETS["paper"]
    assert cli.main(["demo", "--protection=bench.mine"]) == 0
    assert jobs.asked["protection"] == "bench.mine"


def test_the_demo_overwrites_what_a_demo_wrote_and_nothing_else(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["demo", "-o", "shown", "--protection", "noise"]
    assert cli.main(words) == cli.main([*words, "--seed", "1"]) == 0
    assert "Passed over" not in capsys.readouterr().out
    photo = min((place / "shown").glob("*.png"))
    photo.write_bytes(b"a photo of mine")
    assert cli.main(words) == 2
    assert f"{photo} was not written by `cloakwork demo`" in capsys.readouterr().err
    assert photo.read_bytes() == b"a photo of mine"


def record(**changes: Any) -> SetRecord:
    size = {"width": 640, "height": 480, "ssim": 0.9612, "noticed": 0.8, "digest": "", "sha256": ""}
    photos = [
        PhotoRecord(
            name=n, original=Path(n), output=Path("safe") / n, budget_used=used, psnr=psnr, **size
        )
        for n, used, psnr in (("a[red].png", 11.0, 31.26), ("b.png", 0.0, float("inf")))
    ]
    plain = SetRecord(
        name="cats",
        out=Path("safe"),
        protection="aspl",
        surrogates=["tiny (weights 1a2b3c4d5e6f)"],
        photos=photos,
        sheet=Path("safe/.cloakwork/cats.png"),
        record=Path("safe/.cloakwork/cats.json"),
        notes=["c.png was left out."],
        seconds=24.68,
    )
    return replace(plain, **changes)


def test_the_end_says_what_was_done_and_what_it_does_not_mean(
    jobs: Jobs, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.answer = [record(), record(name="dogs")]
    assert cli.main(mine()) == 0
    said = capsys.readouterr().out
    for part in (
        "cats",
        "dogs",
        "a[red].png",
        "640 x 480",
        "11.00",
        "31.3",
        "unchanged",
        "seen close up",
        "12.3",
        "c.png was left out.",
    ):
        assert part in said
    assert (
        said.count(
            "Computed against tiny (weights 1a2b3c4d5e6f). This says nothing about other models."
        )
        == 2
    )
    assert str(Path("safe/.cloakwork/cats.png")) in said
    assert str(Path("safe/.cloakwork/cats.json")) in said


def test_a_baseline_claims_nothing(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.answer = [record(protection="noise", surrogates=[])]
    assert cli.main(mine()) == 0
    assert (
        "noise is computed against no model. This says nothing about any model."
        in capsys.readouterr().out
    )


def test_work_done_before_is_said_to_be(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.answer = [record(fresh=False)]
    assert cli.main(mine()) == 0
    said = capsys.readouterr().out
    assert "done before" in said
    assert "12.3" not in said


def test_photos_treated_alone_share_a_table(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.answer = [record(record=Path(f"safe/.cloakwork/{name}/record.json")) for name in "abc"]
    assert cli.main(mine("--each")) == 0
    said = capsys.readouterr().out
    assert said.count("a[red].png") == 3
    assert (
        said.count("budget used")
        == said.count("c.png was left out.")
        == said.count("This says nothing about other models.")
        == 1
    )
    assert f"a folder for each photo in {Path('safe/.cloakwork')}" in said


def test_nothing_but_faults_goes_to_stderr(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(mine()) == 0
    assert capsys.readouterr().err == ""


def test_progress_bars_follow_nested_and_repeated_loops() -> None:
    with progress_bars() as progress:
        for photo_set in range(2):
            progress("photo sets", photo_set, 2)
            for step in range(3):
                progress("aspl [cats]", step + 1, 3)
        progress("photo sets", 2, 2)


def test_presets_are_listed_with_what_they_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["protect", "--list-presets", "--protection", "sds"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("sds", "tiny", "tiny-plus", "paper", "16", "PGD steps"))
    assert cli.main(["protect", "--list-presets"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name, _ in registry.listing("protections"))


def test_a_dry_run_counts_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert (
        cli.main(
            [
                "protect",
                str(SAMPLE_PHOTOS),
                "-o",
                str(out),
                "--protection",
                "sds",
                "--steps",
                "7",
                "--dry-run",
            ]
        )
        == 0
    )
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "1 photo set of 5 photos" in shown
        and "pgd steps 7 training steps 0 vae encode 7" in shown
        and re.search(r"tiny: 0\.\d+ GB of weights. All of it is about [\d.]+ TFLOP", shown)
        and not out.exists()
    )


def dry(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = cli.main(["protect", *words, "--protection", "pid", "--steps", "1", "--dry-run"])
    said = capsys.readouterr()
    return status, said.out, said.err


def test_a_dry_run_refuses_what_the_run_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", ["-o", str(tmp_path / "out")]
    folder.mkdir()
    for name in ("a.jpg", "b.jpg", "film.mov"):
        (folder / name).write_bytes(next(SAMPLE_PHOTOS.glob("*.jpg")).read_bytes())
    (folder / "film.mov").write_bytes(b"a film")
    (folder / "b.jpg").write_bytes((folder / "b.jpg").read_bytes()[:500])
    status, _, fault = dry(capsys, str(folder), *out)
    assert status == 2 and "b.jpg is damaged or cut short" in fault
    status, shown, warned = dry(capsys, str(folder), *out, "--skip-bad")
    assert (status, warned) == (0, "") and "1 photo set of 1 photos" in shown
    assert "Skipped: " in shown and "film.mov" in shown
    for faulty, says in (
        (["--surrogate", str(folder)], "has no model_index.json"),
        (["--budget", "300"], "out of range"),
        (["--format", "bmp", "--quality", "0"], "quality 0"),
    ):
        status, _, fault = dry(capsys, str(folder / "a.jpg"), *out, *faulty)
        assert status == 2 and says in fault
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"mine")
    status, _, fault = dry(capsys, str(folder / "a.jpg"), *out)
    assert status == 2 and "exists already" in fault


def test_a_dry_run_fetches_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*_: Any, local_files_only: bool = False, **__: Any) -> str:
        assert local_files_only
        if copy.is_dir():
            return str(copy)
        raise FileNotFoundError

    copy = tmp_path / "copy"
    monkeypatch.setattr("huggingface_hub.snapshot_download", no_network)
    words = [str(SAMPLE_PHOTOS), "-o", str(tmp_path / "out"), "--surrogate", "some/model"]
    status, shown, _ = dry(capsys, *words)
    assert status == 0 and "Not checked: some/model is not on this machine" in shown
    (copy / "unet").mkdir(parents=True)
    assert "Not checked: some/model" in dry(capsys, *words)[1]
    (copy / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    status, _, fault = dry(capsys, *words)
    assert status == 2 and "another family" in fault
    shutil.rmtree(copy)
    shutil.copytree(ASSETS / "tiny", copy)
    status, shown, _ = dry(capsys, *words)
    assert status == 0 and "Not checked" not in shown
    next((copy / "vae").glob("*.safetensors")).unlink()
    assert "Not checked: some/model" in dry(capsys, *words)[1]


def test_one_bar_for_the_whole_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """It never goes back, counts nested loops once, and waits while a method gets ready."""
    from rich.progress import Progress

    from cloakwork.cli import progress as bars

    shown: list[tuple[float | None, str]] = []
    display = bars._display()
    monkeypatch.setattr(bars, "_display", lambda: display)
    update = Progress.update

    def spy(self: Progress, task: Any, **how: Any) -> None:
        update(self, task, **how)
        (only,) = self.tasks
        shown.append((only.total and only.completed, only.description))

    monkeypatch.setattr(Progress, "update", spy)
    with progress_bars() as progress:
        progress("timesteps", 1, 3)
        for photo_set in range(2):
            progress("photo sets", photo_set, 2)
            for step in range(4):
                progress("class pictures", 1, 1)
                progress("cats", step + 1, 4)
        progress("photo sets", 2, 2)
    shares = [share for share, _ in shown if share is not None]
    assert (
        shown[0][0] is None
        and shares == sorted(shares)
        and set(shares) == {k / 8 for k in range(9)}
    )
    assert "step 3 of 4, in photo set 2 of 2" in [text for _, text in shown]


@pytest.mark.parametrize(
    "words", [["attack", "safe", "-o", "out"], ["audit", "safe", "-o", "out"], ["bench", "quick"]]
)
@pytest.mark.parametrize("low_memory", [False, True])
def test_memory_may_be_spared(
    words: list[str], low_memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def work(*_: Any, low_memory: bool, **__: Any) -> None:
        asked.append(low_memory)
        raise UserError("Enough is known.")

    monkeypatch.setattr(importlib.import_module(f"cloakwork.workflows.{words[0]}"), words[0], work)
    assert cli.main([*words, *(["--low-memory"] if low_memory else [])]) == 2
    assert asked == [low_memory]


def test_an_audit_in_a_hurry_is_one_attacker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from cloakwork.workflows.audit_results import Audit

    module = importlib.import_module("cloakwork.workflows.audit")
    asked: list[Any] = []

    def audit(*_: Any, attacker: Any, purifiers: Any, **__: Any) -> Audit:
        asked.append((attacker, purifiers))
        return Audit([], {}, ["Said last."], [], 1, ["Said first."])

    monkeypatch.setattr(module, "audit", audit)
    words = ["audit", str(tmp_path), "-o", str(tmp_path / "report")]
    assert cli.main([*words, "--quick"]) == 0 and cli.main(words) == 0
    assert asked == [("dreambooth:steps=100,sampling.n=8", "none"), ("dreambooth", None)]
    said = capsys.readouterr().out
    assert said.index("Said first.") < said.index("The protected photos") < said.index("Said last.")
    assert cli.main([*words, "--quick", "--attacker", "lora"]) == 2
    assert cli.main([*words, "--quick", "--victim", "some/model"]) == 2


def test_fields_of_fields_are_flags_too() -> None:
    """Else a method whose `training.seed` is `--seed` on the command line ends in a traceback."""
    from cloakwork.cli.protect_flags import Files, How, flag_names
    from cloakwork.protections.metacloak import Config

    assert {"blur_sigma", "budget"} <= flag_names(Config) and "transform" not in flag_names(Config)
    for name, _ in registry.listing("protections"):
        assert not flag_names(Files, How) & flag_names(registry.load("protections", name).Config)
