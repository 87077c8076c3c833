"""What scripts of the benchmarks do beyond writing tables."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from helpers import own_methods, small_families

from cloakwork import registry
from cloakwork.benchmark.collect import collect
from cloakwork.benchmark.execution import serial
from cloakwork.benchmark.grids import Grid, Table, targets, threat_model
from cloakwork.evaluation.design import Subject
from cloakwork.evaluation.sources import source
from cloakwork.evaluation.steps import Workspace
from cloakwork.models.families import sd3
from cloakwork.models.ldm import LDM


@pytest.fixture
def kept_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    (tmp_path / "own").mkdir()
    own_methods.build(tmp_path / "own")
    monkeypatch.syspath_prepend(tmp_path / "own")
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    yield importlib.import_module("scores")
    for name in [n for n in sys.modules if n.startswith("own_lab")]:
        del sys.modules[name]


def test_scores_stand_for_attackers(
    kept_scores: ModuleType, sample_files: list[Path], tmp_path: Path
) -> None:
    people = tuple(Subject(f.stem, source([f]), source([f]), 0, source([f])) for f in sample_files)
    copier = threat_model("copier", "own_lab.copier", prompts=("a photo",))
    darker, scored = ("own_lab.darker",), ("own_lab.brightness",)
    table = Table("lab", darker, (copier,), people, scored, budget=16)
    grid = Grid("lab", "", (table,))
    first, second = (Workspace(tmp_path / name, "cpu") for name in ("first", "second"))
    folder = tmp_path / "scores"
    half = list(targets(grid))[:4]
    serial.serial(half, first)
    assert kept_scores.keep(table, first, folder) == len(half)
    assert kept_scores.put(second, folder) == len(half)
    assert kept_scores.put(second, folder) == 0, "what is there stays"
    assert not list((tmp_path / "second").glob("attack/*")), "a score needs no pictures"
    serial.serial(targets(grid), second)
    whole = serial.serial(targets(grid), Workspace(tmp_path / "third", "cpu"))
    assert not whole.failed
    told, alone = (
        collect(grid, Workspace(tmp_path / s, "cpu")).tables for s in ("second", "third")
    )
    assert told == alone
    # a table that no longer asks for them is rid of them
    assert kept_scores.keep(replace(table, metrics=("linf",)), first, folder) == 0
    assert not list(folder.iterdir())


def small_parts() -> tuple[Any, ...]:
    pipe = small_families.KINDS["sd3"]()
    readers = [pipe.text_encoder, pipe.text_encoder_2, pipe.text_encoder_3]
    return sd3, pipe.vae, pipe.transformer, pipe.scheduler, readers


def test_what_a_gpu_takes_is_measured(
    small: LDM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real shapes are too large here; the file is for results of a GPU."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    gpu, families = (importlib.import_module(name) for name in ("gpu", "families"))
    monkeypatch.setattr(gpu, "models", lambda device: {128: small})
    for constant, n in {"PHOTOS": 1, "WARM": 0, "STEPS": 1}.items():
        monkeypatch.setattr(gpu, constant, n)
    brief = {"steps": 2, "outer": 2, "clean_steps": 2, "pgd_steps": 1, "adv_steps": 1}
    for name, how in gpu.METHODS.items():
        fields = registry.load("protections", name).Config.__dataclass_fields__
        monkeypatch.setitem(
            gpu.METHODS, name, how | {k: n for k, n in brief.items() if k in fields}
        )
    monkeypatch.setattr(families, "MODELS", {"small": small_parts})
    monkeypatch.setattr(families, "SIZES", (64,))
    *_, found = gpu.measure(torch.device("cpu"), [*gpu.METHODS, "small"], 1e-3)
    lines = {name: ways["plain"] for name, ways in found["methods"]["128"].items()}
    lines["small"] = found["families"]["small"]["64"]
    assert list(lines) == [*gpu.METHODS, "small"]
    for line in lines.values():
        assert line["seconds"] > 0
        assert line["share"] == pytest.approx(line["tflop"] / line["seconds"] / 1e-3)
    # a turn of aspl learns three times here, one of metacloak twice, and each takes a step of PGD
    assert lines["aspl"]["tflop"] > lines["metacloak"]["tflop"] > lines["pid"]["tflop"] > 0
    file = tmp_path / "gpu.json"
    words = ["gpu.py", "--device", "cpu", "--only", "pid", "--file", str(file)]
    monkeypatch.setattr(sys, "argv", words)
    gpu.main()
    assert not file.exists()


def test_a_cards_peak_is_known_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    gpu = importlib.import_module("gpu")
    names = ("NVIDIA H100 PCIe", "NVIDIA H100 80GB HBM3", "NVIDIA L40S", "NVIDIA L4", "Voodoo 2")
    assert [gpu.peak_of(name) for name in names] == [756, 989, 362, 121, None]


def test_a_photo_is_measured_stage_by_stage_by_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the code of two checkouts, which are the same one here."""
    root = Path(__file__).parents[1]
    monkeypatch.syspath_prepend(root / "benchmarks")
    stages = importlib.import_module("stages")
    doc, out = tmp_path / "a.md", tmp_path / "stages.json"
    doc.write_text("<!-- stages -->\n\nNot measured yet.\n\n<!-- end -->\n")
    how = ["--size", "64", "--protection", "learned", "--turns", "1", "--before", str(root)]
    stages.main([*how, "--out", str(out), "--doc", str(doc)])
    (found,) = json.loads(out.read_text()).values()
    for (run,) in (found["before"], found["now"]):
        parts = [run[stage] for stage in ("load", "apply", "encode", "measure")]
        assert min(parts) > 0 and sum(parts) <= run["all"] + 0.01 and run["peak_mb"] > 100
    assert "| 64 | learned, before |" in doc.read_text() and "| 64 | learned |" in doc.read_text()
    with pytest.raises(SystemExit):
        stages.main(["--before", str(tmp_path)])


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")


def test_a_detector_is_judged_by_pairs_of_photos(scripts: None) -> None:
    detector = importlib.import_module("detector")
    clean = {"a": [-3.0, 1.0], "b": [-2.0, -1.0]}
    row = detector.compare({"a": [2.0, 0.0], "b": [-1.5, 3.0]}, clean)
    assert row["auc"]["mean"] == pytest.approx((4 + 3 + 2 + 4) / 16)
    assert (row["taken"], row["clean_taken"]) == (0.5, 0.25)
    assert detector.compare(clean, clean)["auc"]["mean"] == 0.5


def test_a_pattern_is_turned_in_eight_ways(scripts: None) -> None:
    turned = importlib.import_module("turned").turned(torch.arange(27.0).view(3, 3, 3))
    assert len({tuple(t.flatten().tolist()) for t in turned}) == 8
    assert all(t.shape == (3, 3, 3) and t[0].sum() == 36 for t in turned)
