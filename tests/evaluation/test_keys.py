"""Results that were stored by earlier versions are found under their old names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cloakwork.benchmark import grids, recipes
from cloakwork.evaluation import steps
from cloakwork.evaluation.steps import Workspace

KNOWN = json.loads((Path(__file__).with_name("known_keys.json")).read_text())


def test_the_steps_of_a_known_grid_keep_their_names(tmp_path: Path) -> None:
    """A key that moves would throw away everybody's stored results, so it may not move unnoticed.

    It may move with a VERSION, with torch, or with the weights of the embedded models; then write
    the file anew: names of the recipe `quick` on one thread of a CPU.
    """
    workspace = Workspace(tmp_path, "cpu")
    if torch.__version__ != KNOWN["torch"]:
        pytest.skip(f"torch is part of every key; the names are those of {KNOWN['torch']}")
    grid = recipes.build("quick", recipes.find(["quick"])["quick"])
    names = sorted(steps.graph(grids.targets(grid), workspace))
    assert names == KNOWN["quick"]
