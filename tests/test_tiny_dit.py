"""`tiny-dit` of untrained parts: assembled, found, protected against, stolen from, compared."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers import attacks

from cloakwork import cli, registry
from cloakwork.benchmark import grids, recipes
from cloakwork.benchmark.grids import Grid
from cloakwork.errors import UserError
from cloakwork.files import ASSETS
from cloakwork.models import autoencoders, hub, loading, pipelines
from cloakwork.protections import aspl, pid
from cloakwork.state import RunState
from cloakwork.types import Photos

TRAINING = Path(__file__).parents[1] / "training"
TURN = {"outer": 1, "clean_steps": 1, "pgd_steps": 1, "adv_steps": 1, "prior_weight": 0}
PROTECTIONS = [
    (pid, replace(pid.PRESETS["tiny"], steps=1)),
    (aspl, replace(aspl.PRESETS["tiny"], **TURN)),
]
TABLE = "pid on two architectures"


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to be put on the path: the distribution, its pipeline of seeded random weights."""
    root, work = tmp_path_factory.mktemp("installed"), tmp_path_factory.mktemp("work")
    out = root / "cloakwork_tiny_dit" / "tiny-dit"
    out.mkdir(parents=True)
    (out.parent / "__init__.py").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TRAINING)
        dit, decoder, assemble, loop = map(
            importlib.import_module, ("dit", "dit_decoder", "dit_assemble", "loop")
        )
        rng = torch.Generator().manual_seed(0)
        for part, net in (("dit", dit.build()), ("decoder-dit", decoder.build().decoder)):
            for p in net.parameters():  # as it is built, it gives zeros and passes no gradient on
                torch.nn.init.normal_(p, std=0.05, generator=rng)
            list(loop.Run(work / part, net, lr=1e-3, steps=0, minutes=0))
        assemble.write(ASSETS, work, out)
    return root


@pytest.fixture
def absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A checkout without the weights."""
    monkeypatch.setattr(hub, "PACKAGES", tmp_path)
    yield
    for remembered in (pipelines.weights, loading._load_cpu, autoencoders._load_cpu):
        remembered.cache_clear()


@pytest.fixture
def installed(absent: None, distribution: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(distribution)


@pytest.fixture
def data(tmp_path: Path, sample_files: list[Path]) -> Path:
    """The photo sets that the recipe `tiny` asks for."""
    for folder in ("identities/ann/set_A", "identities/ann/set_B", "subjects/dog"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for file in sample_files[:2]:
            (tmp_path / "data" / folder / file.name).write_bytes(file.read_bytes())
    return tmp_path / "data"


@pytest.mark.usefixtures("absent")
def test_without_its_distribution_it_is_said_where_it_comes_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UserError, match=r"'tiny-dit' is not on this machine.*cloakwork-tiny-dit"):
        loading.load("tiny-dit", "cpu")
    assert cli.main(["list", "models"]) == 0
    assert re.search(r"tiny-dit +not here; comes with", capsys.readouterr().out)


def test_a_checkouts_own_comes_before_an_installed_one(
    installed: None, distribution: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hub.apart("tiny-dit") == distribution / "cloakwork_tiny_dit" / "tiny-dit"
    assert cli.main(["list", "models"]) == 0
    assert re.search(r"tiny-dit +here; comes with", capsys.readouterr().out)
    own = tmp_path / "cloakwork-tiny-dit" / "cloakwork_tiny_dit" / "tiny-dit"
    own.mkdir(parents=True)
    assert hub.apart("tiny-dit") != own  # an empty folder is no model
    (own / "model_index.json").touch()
    assert hub.apart("tiny-dit") == own


@pytest.mark.usefixtures("installed")
def test_it_is_protected_against_and_stolen_from(
    square: Photos, first_gradient: list[Photos]
) -> None:
    model = loading.load("tiny-dit", "cpu")
    assert (model.size, model.family.NAME[:18]) == (128, "Stable Diffusion 3")
    assert registry.config(pid, None, ["tiny-dit"]) == pid.PRESETS["tiny"]
    records = json.loads((pipelines.locate("tiny-dit")[0] / "trained.json").read_text())
    assert {r["arithmetic"] for r in records.values()} <= {"bfloat16", "float32"}
    for module, config in PROTECTIONS:
        first_gradient.clear()
        rng = torch.Generator().manual_seed(0)
        module.protect(square[:1], [model], config, clean=None, rng=rng, state=RunState())
        ((gradient,), *_) = first_gradient
        assert gradient.isfinite().all() and gradient.abs().max() > 0, module.__name__
    pictures = attacks.run("lora", square[:1], model, steps=2, prior_weight=0)
    assert pictures.shape == (4, 3, 128, 128) and pictures.isfinite().all()
    untouched = attacks.run("lora", square[:1], model, steps=2, prior_weight=0, lr=0.0)
    assert not torch.equal(pictures, untouched)


def built(data: Path) -> Grid:
    return recipes.build("tiny", recipes.find(["tiny"])["tiny"], data)


@pytest.mark.usefixtures("absent")
def test_its_tables_are_left_out_where_it_is_not_here(data: Path) -> None:
    grid = built(data)
    assert grid.about.endswith("left out: tiny-dit is not on this machine.")
    assert not [t.name for t in grid.tables if "architectures" in t.name]


@pytest.mark.usefixtures("installed")
def test_each_protection_is_made_on_both_and_stolen_from_both(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = [t for t in built(data).tables if "architectures" in t.name]
    names = [t.name.partition(" ")[0] for t in tables]
    assert names == ["pid", "simac", "cloakwork", "aspl", "metacloak", "sds", "dct_shield"]
    for table in tables:
        made = {grids.protected(table, p)[0].protected.models for p in table.protections}
        assert made == {("tiny",), ("tiny-dit",), ("tiny", "tiny-dit")}
        assert [t.victim for t in table.threat_models] == ["tiny", "tiny-dit"]
    words = ["bench", "tiny", "--data", str(data), "--out", str(tmp_path / "out"), "--dry-run"]
    assert cli.main([*words, "--table", TABLE]) == 0
    assert "attack" in capsys.readouterr().out
