"""What is added to a model, or taken out of its graph, against diffusers' own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers import attacks
from helpers.custom_diffusion import as_diffusers_does

from cloakwork.finetuning import adapters
from cloakwork.finetuning.weights import weights_of
from cloakwork.models.ldm import LDM
from cloakwork.protections import caat
from cloakwork.types import Photos


def caat_learns(photos: Photos, model: LDM, monkeypatch: pytest.MonkeyPatch) -> LDM:
    theta = model.copy()
    rng = torch.Generator().manual_seed(4)
    gradient, _ = caat._learner(theta, len(photos), caat.Config(), rng)
    for _ in range(3):
        gradient(photos, list(range(len(photos))))
    return theta


def attacker_learns(photos: Photos, model: LDM, monkeypatch: pytest.MonkeyPatch) -> LDM:
    made: list[LDM] = []

    def spy(theta: LDM, *_: object, **__: object) -> Callable[[int], torch.Tensor]:
        made.append(theta)
        return lambda n: torch.zeros(n, 3, 8, 8)

    monkeypatch.setattr("cloakwork.finetuning.personalize.sampler", spy)
    attacks.run("custom_diffusion", photos, model, lr=1e-5)
    return made[0]


@pytest.mark.parametrize("learn", [caat_learns, attacker_learns])
def test_keys_and_values_learn_what_they_do_in_diffusers(
    learn: Callable[[Photos, LDM, pytest.MonkeyPatch], LDM],
    square: Photos,
    small: LDM,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After three steps on the same draws nearly all updates have diffusers' sign, and not so
    where the first token teaches too."""

    def updates() -> torch.Tensor:
        before, now = weights_of(small), weights_of(learn(square, small, monkeypatch))
        return torch.cat([(now[k] - p).flatten() for k, p in before.items() if ".attn2.to_" in k])

    def agree(a: torch.Tensor, b: torch.Tensor) -> float:
        moves = (a != 0) | (b != 0)
        assert moves.sum() > 1000
        return (a.sign() == b.sign())[moves].float().mean().item()

    ours = updates()
    monkeypatch.setattr(adapters, "detach_first_token", as_diffusers_does)
    theirs = updates()
    monkeypatch.setattr(adapters, "detach_first_token", lambda ldm: None)
    whole = updates()
    assert agree(ours, theirs) > 0.999
    assert agree(whole, theirs) < 0.99


def test_without_the_first_token_the_model_computes_the_same(small: LDM) -> None:
    other = small.copy()
    adapters.detach_first_token(other)
    z, t = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(3)), torch.tensor([9])
    c = small.embed(["a photo of a person"])
    with other.trainable(text_encoder=False):
        assert torch.equal(small.predict(z, t, c), other.predict(z, t, c))
