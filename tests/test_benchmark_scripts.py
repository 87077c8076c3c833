"""A table that one store has begun is finished in another, from scores alone."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from helpers import own_methods

from cloakwork.benchmark import results
from cloakwork.benchmark.execution import serial
from cloakwork.benchmark.grids import Grid, Table, targets, threat_model
from cloakwork.evaluation.design import Subject
from cloakwork.evaluation.sources import source
from cloakwork.evaluation.steps import Workspace


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
        results.collect(grid, Workspace(tmp_path / s, "cpu")).tables for s in ("second", "third")
    )
    assert told == alone
    # a table that no longer asks for them is rid of them
    assert kept_scores.keep(replace(table, metrics=("linf",)), first, folder) == 0
    assert not list(folder.iterdir())
