"""First gradients of every method are those of independent statements of the releases."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cloakwork.models.ldm import LDM
from cloakwork.types import Photos

METHODS = (
    "advdm",
    "mist",
    "sds",
    "sdst",
    "photoguard",
    "photoguard, diffusion",
    "pid",
    "glaze",
    "dct_shield",
    "fsmg",
    "fsmg, targeted",
    "aspl",
    "simac",
    "metacloak",
    "caat",
    "ace",
    "dreambooth (trainer)",
    "custom_diffusion (trainer)",
    "lora (trainer)",
    "textual_inversion (trainer)",
)


@pytest.fixture
def faithful(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module("faithful")


@pytest.fixture
def given(faithful: ModuleType, small: LDM, photos: Photos) -> Any:
    return faithful.given_to_both(small, photos, steps=1)


@pytest.mark.parametrize("method", METHODS)
def test_first_gradients_are_the_releases(method: str, faithful: ModuleType, given: Any) -> None:
    case = faithful.CASES[method]
    rows = faithful.compare(case, given, 1, [s for s in case.statements if not s.differs])
    for row in rows:
        assert not row["fresh_draws"], "the statement draws what the method does not"
        assert row["signs"] > 0.999, row
        assert row["relative"] < 1e-4, row


def test_every_method_is_held_against_its_release(faithful: ModuleType) -> None:
    assert set(METHODS) == set(faithful.CASES)


def test_other_words_are_noticed(faithful: ModuleType, given: Any) -> None:
    case = faithful.CASES["advdm"]
    other = replace(case, config=lambda given: replace(case.config(given), prompt="a dog"))
    (row,) = faithful.compare(other, given)
    assert row["relative"] > 1e-4
