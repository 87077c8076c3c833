from __future__ import annotations

import pytest
import torch

from cloakwork import eot
from cloakwork.ldm import LDM
from cloakwork.personalize import Training, borrowed, class_pictures, learn, lesson, weights_of
from cloakwork.types import Photos

PROMPT = "a photo of sks person"


def error_on(model: LDM, z: torch.Tensor) -> float:
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        return torch.stack([model.latent_loss(z, model.embed([PROMPT]), g) for _ in range(8)]).mean().item()


def moved(model: LDM, before: dict[str, torch.Tensor]) -> float:
    """Share of the weights that changed."""
    now = weights_of(model)
    return sum((now[k] != v).sum().item() for k, v in before.items()) / sum(v.numel() for v in before.values())


def test_learning_lowers_the_error_on_what_was_learned(tiny: LDM, photos: Photos, rng: torch.Generator) -> None:
    model = tiny.copy()
    what = lesson(model, eot.view(photos, 128), PROMPT)
    before = error_on(model, what.latents)
    learn(model, what, None, Training(lr=1e-4, batch=3), 12, rng)
    assert error_on(model, what.latents) < 0.97 * before
    assert not any(p.requires_grad for p in model.unet.parameters())


def test_borrowed_weights_come_back(tiny: LDM, photos: Photos, rng: torch.Generator) -> None:
    model = tiny.copy()
    what = lesson(model, eot.view(photos, 128), PROMPT)
    before = {k: v.clone() for k, v in weights_of(model).items()}
    text = model.embed([PROMPT])
    with pytest.raises(KeyboardInterrupt), borrowed(model):
        learn(model, what, what, Training(lr=1e-3), 1, rng)
        assert moved(model, before) > 0.9
        raise KeyboardInterrupt
    assert moved(model, before) == 0
    assert torch.equal(model.embed([PROMPT]), text)


def test_bf16_weights_at_the_published_rate_hardly_move(tiny: LDM, photos: Photos, rng: torch.Generator) -> None:
    """What the release of Anti-DreamBooth does in effect: at 5e-7 almost nothing passes bf16's rounding."""
    model = tiny.copy()
    what = lesson(model, eot.view(photos, 128), PROMPT)
    learn(model, what, None, Training(lr=1e-12, weights="bfloat16"), 1, rng)  # rounds once, so that later changes are learning
    before = {k: v.clone() for k, v in weights_of(model).items()}
    learn(model, what, None, Training(lr=5e-7, weights="bfloat16"), 3, rng)
    assert moved(model, before) < 0.05
    learn(model, what, None, Training(lr=5e-7), 3, rng)
    assert moved(model, before) > 0.5


def test_successive_calls_go_round_all_pictures(
    tiny: LDM, photos: Photos, monkeypatch: pytest.MonkeyPatch, rng: torch.Generator
) -> None:
    model = tiny.copy()
    what = lesson(model, eot.view(photos, 128), PROMPT)
    seen = []
    original = LDM.latent_loss

    def spy(self: LDM, z: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.extend(next(i for i, p in enumerate(what.latents) if torch.equal(p, one)) for one in z)
        return original(self, z, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(LDM, "latent_loss", spy)
    for k in range(3):
        learn(model, what, None, Training(), 2, rng, first=2 * k)
    assert seen == [0, 1, 2, 0, 1, 2]


def test_class_pictures_are_made_once(tiny: LDM, monkeypatch: pytest.MonkeyPatch) -> None:
    first = class_pictures(tiny, "a photo of person", 2, steps=2)
    monkeypatch.setattr(LDM, "sample", None)
    assert torch.equal(first, class_pictures(tiny, "a photo of person", 2, steps=2))
    assert first.shape == (2, 3, 128, 128)
