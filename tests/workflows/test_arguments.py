"""A method is given alike to every function, and mistakes are sentences."""

from __future__ import annotations

import inspect
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import cloakwork
from cloakwork import specs
from cloakwork.errors import UserError
from cloakwork.protections import noise, photoguard
from cloakwork.workflows.protect_plan import ProtectOptions
from cloakwork.workflows.shown import paper_note


def test_three_ways_to_give_a_method() -> None:
    config = noise.Config(budget=8.0)
    given = ("noise:budget=8", specs.Method("protections", "noise", config))
    ways = [specs.method("protections", g) for g in given]
    ways.append(specs.method("protections", "noise", settings={"budget": 8.0}))
    assert ways == [given[1]] * 3


def test_options_are_what_protect_is_given_and_their_defaults_its_own() -> None:
    given = inspect.signature(cloakwork.protect).parameters
    for option in fields(ProtectOptions):
        assert given[option.name].default == option.default, option.name


def test_a_bare_config_is_the_papers() -> None:
    bare = specs.Method("protections", "photoguard", photoguard.Config())
    (note,) = paper_note(bare, ["tiny"])
    assert "photoguard:tiny" in note
    assert not paper_note(bare, ["someone/some-model"])
    assert not paper_note(specs.method("protections", "photoguard"), ["tiny"])


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"seed": "x"}, "argument seed is 'x'; allowed is a whole number"),
        ({"budget": "eight"}, "field budget of noise is 'eight'; allowed is a number"),
        ({"buget": 3}, "did you mean 'budget'"),
        ({"surrogate": "tiny"}, "Perhaps the argument surrogates is meant"),
        ({"protection": 3}, "argument protection is 3"),
        ({"photos": None}, "argument photos is None; allowed is a list, a path or a text"),
        ({"config": 3}, "config of noise is of the type int"),
    ],
)
def test_wrong_arguments_are_told(how: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=says):
        cloakwork.protect(**{"photos": "x", "out": tmp_path, "protection": "noise"} | how)


def test_the_others_tell_wrong_arguments_too(tmp_path: Path) -> None:
    for call in (
        lambda: cloakwork.purify(tmp_path, tmp_path, purifiers=3),
        lambda: cloakwork.attack(tmp_path, tmp_path, attacker=3),
        lambda: cloakwork.score(tmp_path, metrics=3),
        lambda: cloakwork.audit(tmp_path, tmp_path, seeds="x"),
    ):
        with pytest.raises(UserError, match="The argument"):
            call()


def test_results_print_short(sample_files: list[Path], tmp_path: Path) -> None:
    records = cloakwork.protect(sample_files, tmp_path / "out", protection="noise", budget=4)
    assert isinstance(records, list) and len(repr(records)) < 400
    assert len(repr(records[0])) < 400 and "<table>" in records._repr_html_()
    found = cloakwork.score(tmp_path / "out", metrics="brisque")
    assert repr(found).startswith("Scores: brisque") and found["brisque"]["n"] == 3


def test_a_model_prints_as_one_line(tiny: Any) -> None:
    assert repr(tiny).startswith("<LDM tiny (weights ") and "\n" not in repr(tiny)


def test_types_are_part_of_the_package() -> None:
    assert Path(cloakwork.__file__).with_name("py.typed").is_file()
