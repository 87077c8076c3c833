"""run: what comes of a protection is the same whoever asks, and grey photos stay grey."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from cloakwork import registry
from cloakwork.evaluation.run import run_protection
from cloakwork.specs import Method
from cloakwork.state import RunState

TINT = '''
"""A protection that makes photos redder."""
from dataclasses import dataclass

import torch

VERSION = 1


@dataclass(frozen=True)
class Config:
    budget: float = 8


def protect(photos, surrogates, cfg, *, clean, rng, state):
    tint = torch.tensor([1.0, 0.5, 0.0])[:, None, None] * cfg.budget / 255
    return [p + tint for p in photos]
'''


def test_grey_photos_stay_grey_whatever_the_protection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: torch.Generator
) -> None:
    (tmp_path / "lab_of_tints").mkdir()
    (tmp_path / "lab_of_tints/red.py").write_text(TINT)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    name = "lab_of_tints.red"
    method = Method("protections", name, registry.load("protections", name).Config())
    grey = torch.full((3, 64, 64), 0.5)
    coloured = grey * torch.tensor([1.0, 0.9, 0.8])[:, None, None]
    first, second = run_protection(
        method, [grey, coloured], [], clean=None, rng=rng, state=RunState()
    )
    assert torch.allclose(first * 255, torch.tensor(4.0))
    assert torch.allclose(second[:, 0, 0] * 255, torch.tensor([8.0, 4.0, 0.0]), atol=1e-4)
