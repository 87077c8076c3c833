"""A checkpoint goes on as it was, or the computation begins again and says so."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cloakwork.errors import UserError
from cloakwork.state import RunState


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    state = RunState(tmp_path / "state.safetensors", checkpoint_seconds=0)
    state.trace, state.dead_steps = [0.5, 0.25], 1
    tensors = {"x": torch.rand(2, 3), "half": torch.ones(2, dtype=torch.bfloat16)}
    state.checkpoint(2, 5, torch.Generator().manual_seed(3), lambda: tensors)
    return tmp_path / "state.safetensors"


def resumed(path: Path) -> tuple[int, RunState, torch.Generator, dict[str, Any]]:
    state, rng = RunState(path), torch.Generator().manual_seed(0)
    done, tensors = state.resume(rng)
    return done, state, rng, tensors


def test_a_sound_one_goes_on(kept: Path) -> None:
    done, state, rng, tensors = resumed(kept)
    assert done == 2 and state.trace == [0.5, 0.25] and state.dead_steps == 1 and not state.notes
    assert torch.equal(rng.get_state(), torch.Generator().manual_seed(3).get_state())
    assert set(tensors) == {"x", "half"} and tensors["half"].dtype == torch.bfloat16


def began_again(path: Path) -> bool:
    done, state, rng, tensors = resumed(path)
    fresh = torch.equal(rng.get_state(), torch.Generator().manual_seed(0).get_state())
    (note,) = state.notes
    return (done, tensors, state.trace, state.dead_steps) == (0, {}, [], 0) and (
        fresh and "began again" in note
    )


def test_a_damaged_one_begins_again(kept: Path) -> None:
    whole, draw = kept.read_bytes(), random.Random(0)
    for _ in range(60):
        place = draw.randrange(len(whole))
        bits = whole[place] ^ (1 << draw.randrange(8))
        kept.write_bytes(whole[:place] + bytes([bits]) + whole[place + 1 :])
        assert began_again(kept), place
    for length in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        kept.write_bytes(whole[:length])
        assert began_again(kept), length


def test_one_that_somebody_else_wrote_begins_again(kept: Path) -> None:
    saved = load_file(kept)
    for change in ({"done": torch.tensor(999)}, {"rng": torch.zeros(3)}, {"x": torch.zeros(1)}, {}):
        save_file(saved | change, kept)  # without a checksum, as earlier versions did
        assert began_again(kept)
    for missing in ("done", "rng", "trace", "dead"):
        save_file({k: v for k, v in saved.items() if k != missing}, kept)
        assert began_again(kept)


def test_the_environment_says_how_often_checkpoints_are_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLOAKWORK_CHECKPOINT_SECONDS", ".5")
    assert RunState().checkpoint_seconds == 0.5
    monkeypatch.setenv("CLOAKWORK_CHECKPOINT_SECONDS", "soon")
    assert RunState(checkpoint_seconds=3).checkpoint_seconds == 3
    with pytest.raises(UserError, match="is 'soon'; give seconds"):
        RunState()
