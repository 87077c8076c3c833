"""Where PGD begins."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cloakwork import specs
from cloakwork.errors import UserError
from cloakwork.evaluation.run import run_protection
from cloakwork.models import autoencoders
from cloakwork.perturbation import start
from cloakwork.specs.notation import starting
from cloakwork.state import RunState
from cloakwork.types import Photos

PHOTOS = list(torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)))


def added(text: str, state: RunState | None = None) -> Photos:
    """What a protection adds to the photos."""
    method = specs.parse("protections", text)
    rng = torch.Generator().manual_seed(1)
    models = [autoencoders.load("tiny-b", "cpu")]
    state = state or RunState()
    return run_protection(method, PHOTOS, models, clean=None, rng=rng, state=state)


def test_pgd_goes_on_from_what_another_protection_made() -> None:
    begun = start.photos(starting("learned"), PHOTOS, 11, RunState())
    one = added("pid:tiny:steps=1,step=0.5,start=learned")
    for x, first, delta in zip(PHOTOS, begun, one, strict=True):
        assert (x + delta - first).abs().max().item() == pytest.approx(0.5 / 255, abs=1e-4)
    assert not torch.equal(one[0], added("pid:tiny:steps=1,step=0.5")[0])


def test_latents_have_moved_before_the_first_step() -> None:
    told = {}
    for begin in ("", ",start=learned"):
        state = RunState()
        added(f"pid:tiny:steps=1{begin}", state)
        (told[begin],) = state.trace
    assert told[",start=learned"] > 2 * told[""]


@pytest.mark.parametrize("name", ["pid", "aspl"])
def test_it_is_part_of_what_a_result_is_known_by(name: str) -> None:
    plain, begun = (specs.parse("protections", f"{name}{rest}") for rest in ("", ":start=learned"))
    assert "start" not in plain.settings and not plain.networks
    assert begun.settings["start"] == "learned"
    assert specs.parse("protections", "learned").networks in begun.networks


def test_a_mask_and_the_budget_are_kept() -> None:
    method = specs.parse("protections", "pid:tiny:steps=1,start=learned")
    method = replace(method, config=replace(method.config, budget=5))
    mask = torch.zeros(1, 64, 64)
    mask[..., :32] = 1
    models, rng = [autoencoders.load("tiny-b", "cpu")], torch.Generator().manual_seed(1)
    (delta,) = run_protection(
        method, PHOTOS[:1], models, clean=None, rng=rng, state=RunState(), masks=[mask]
    )
    assert 255 * delta.abs().max() <= 5.001 and not delta[..., 32:].any()


def test_what_needs_models_itself_is_refused() -> None:
    with pytest.raises(UserError, match="PGD cannot start from 'aspl'"):
        specs.parse("protections", "pid:start=aspl")
    with pytest.raises(UserError, match="no protection 'lerned'; did you mean 'learned'"):
        specs.parse("protections", "cloakwork:start=lerned")
    with pytest.raises(UserError, match="PGD cannot start from 'pid'"):
        specs.method("protections", "mist", settings={"start": "pid"})
