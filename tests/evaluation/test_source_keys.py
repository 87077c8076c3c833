"""A method outside the package is known by its source: changed code gives other keys."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloakwork import specs
from cloakwork.evaluation import compute
from cloakwork.evaluation.sources import source
from cloakwork.evaluation.steps import Step, Workspace
from cloakwork.registry import user_modules

METHOD = """
from dataclasses import dataclass
from lab_of_keys.parts import AMOUNT

VERSION = 1


@dataclass(frozen=True)
class Config:
    pass


def purify(photos, model, cfg, *, rng):
    return [p * AMOUNT for p in photos]
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with a purifier, what it imports, and what it does not."""
    folder = tmp_path / "lab_of_keys"
    folder.mkdir()
    for name, text in (
        ("__init__", ""),
        ("mine", METHOD),
        ("parts", "from lab_more import AMOUNT"),
    ):
        (folder / f"{name}.py").write_text(text)
    (folder / "other.py").write_text("")
    (tmp_path / "lab_more.py").write_text("AMOUNT = 0.5")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    for name in [n for n in sys.modules if n.startswith(("lab_of_keys", "lab_more"))]:
        del sys.modules[name]


def code() -> int | str:
    """What a new process would find."""
    forget()
    return specs.parse("purifiers", "lab_of_keys.mine").code


@pytest.mark.parametrize("name", ["lab_of_keys/mine.py", "lab_of_keys/parts.py", "lab_more.py"])
def test_a_change_of_what_it_is_made_of_counts(lab: Path, name: str) -> None:
    before = code()
    assert before == code()
    (lab / name).write_text((lab / name).read_text() + "\n# changed\n")
    assert before != code()


def test_a_change_elsewhere_does_not_count(lab: Path) -> None:
    before = code()
    (lab / "lab_of_keys" / "other.py").write_text("CHANGED = 1")
    assert before == code()


def test_a_process_keeps_the_source_that_it_imported(lab: Path) -> None:
    before = code()
    (lab / "lab_more.py").write_text("AMOUNT = 0.9")
    assert specs.parse("purifiers", "lab_of_keys.mine").code == before


def test_a_method_of_this_package_is_known_by_its_version_alone() -> None:
    method = specs.parse("purifiers", "jpeg")
    assert method.code == method.version and user_modules.source_digest(method.module) == ""


def test_a_step_is_made_anew_with_changed_code(lab: Path, sample_files: list[Path]) -> None:
    means = []
    for amount in (0.5, 0.9, 0.9):
        (lab / "lab_more.py").write_text(f"AMOUNT = {amount}")
        forget()
        method = specs.parse("purifiers", "lab_of_keys.mine")
        step, workspace = Step(method, (source(sample_files[:1]),)), Workspace(lab / "store", "cpu")
        means.append(compute.photos(step, workspace)[0].mean().item())
    assert means[1] == means[2] > 1.5 * means[0]
    assert len(list((lab / "store/purify").glob("*.safetensors"))) == 2
