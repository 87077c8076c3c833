"""The examples in the package's docstrings, run as they stand there."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import cloakwork

PACKAGE = Path(str(cloakwork.__file__)).parent


def modules() -> list[str]:
    """Return the names of modules that hold an example, found without importing one."""
    files = (f for f in PACKAGE.rglob("*.py") if ">>> " in f.read_text(encoding="utf-8"))
    parts = (f.relative_to(PACKAGE.parent).with_suffix("").parts for f in files)
    return sorted(".".join(p).removesuffix(".__init__") for p in parts)


def test_there_are_examples() -> None:
    assert modules()


@pytest.mark.parametrize("name", modules())
def test_examples_of(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted and not found.failed
