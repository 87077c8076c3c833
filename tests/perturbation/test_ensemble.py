"""Several surrogates: whole models as ever, encoders of several latent spaces at one length."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from helpers import small_autoencoders

from cloakwork import registry
from cloakwork.errors import UserError
from cloakwork.models import autoencoders
from cloakwork.models.autoencoders import Autoencoder
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import ensemble, losses, pgd
from cloakwork.state import RunState
from cloakwork.types import Photos


@dataclass(frozen=True)
class Config:
    budget: float = 8
    step: float | None = None
    steps: int = 1


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> list[Autoencoder]:
    folder = tmp_path_factory.mktemp("encoders")
    names = ("sd", "flux2", "qwen")
    return [autoencoders.load(str(small_autoencoders.save(n, folder / n)), "cpu") for n in names]


def constant(*values: list[float]) -> pgd.Gradient:
    return lambda x, which: (1.0, [torch.tensor(v) for v in values])


def test_each_photos_gradient_has_one_length_before_weights_count() -> None:
    large, small = constant([30.0, 40.0], [0.0, 2.0]), constant([0.0, 0.01], [0.0, 0.0])
    x = [torch.zeros(2), torch.zeros(2)]
    value, (first, second) = ensemble.balanced_mean([large, small], [1, 3])(x, [0, 1])
    assert value == 1
    torch.testing.assert_close(first, torch.tensor([0.6 / 4, 0.8 / 4 + 3 / 4]))
    torch.testing.assert_close(second, torch.tensor([0.0, 1 / 4]))  # what has none stays at 0


def test_whole_models_are_averaged_as_they_are(
    small: LDM, photos: Photos, rng: torch.Generator, first_gradient: list[Photos]
) -> None:
    def made(ldm: LDM) -> pgd.Gradient:
        return losses.gradient(ldm, losses.target_distance(torch.zeros(1, 4, 16, 16)), rng)

    square = [photos[2]]
    _, (want,) = made(small)(square, [0])
    ensemble.ascend_mean(square, [small, small], made, Config(), rng, RunState())
    torch.testing.assert_close(first_gradient[0][0], want)


def test_with_weights_whole_models_are_brought_to_one_length_too(
    small: LDM, photos: Photos, rng: torch.Generator, first_gradient: list[Photos]
) -> None:
    def made(ldm: LDM) -> pgd.Gradient:
        target = losses.target_distance(torch.full((1, 4, 16, 16), 5.0 * len(made_for)))
        made_for.append(ldm)
        return losses.gradient(ldm, target, rng)

    made_for: list[LDM] = []
    _, (first,) = made(small)([photos[2]], [0])
    how = {"weights": "1 0"}
    made_for.clear()
    ensemble.ascend_mean([photos[2]], [small, small], made, Config(), rng, RunState(), **how)
    torch.testing.assert_close(first_gradient[0][0], first / first.norm())


@pytest.mark.parametrize("text", ["1 x", "1 -1", "0 0", "inf 1", "nan 1"])
def test_weights_that_no_mean_can_be_taken_with(text: str) -> None:
    with pytest.raises(UserError, match="give a number of 0 or more for each"):
        ensemble.parse_weights(text)


@pytest.mark.parametrize("name", ["pid", "photoguard", "mist", "glaze", "dct_shield"])
def test_weights_are_part_of_a_key_only_where_there_are_any(name: str) -> None:
    module = registry.load("protections", name)
    assert "surrogate_weights" not in registry.settings(module.Config())
    weighted = module.Config(surrogate_weights="1 2")
    assert registry.settings(weighted)["surrogate_weights"] == "1 2"


def test_encoders_see_photos_at_a_size_that_is_drawn(
    encoders: list[Autoencoder], photos: Photos, rng: torch.Generator
) -> None:
    asked: list[tuple[str, int]] = []

    def made(model: Autoencoder) -> pgd.Gradient:
        def gradient(x: Photos, which: list[int]) -> tuple[float, Photos]:
            asked.append((model.name, model.size))
            return 0.0, [torch.ones_like(p) for p in x]

        return gradient

    square = [photos[2]]
    ensemble.ascend_mean(square, encoders, made, Config(steps=20), rng, RunState())
    assert {size for _, size in asked} == {96, 128}
    assert [name for name, _ in asked[:3]] == [model.name for model in encoders]


def test_one_photo_at_a_time_is_the_same_way(
    encoders: list[Autoencoder], rng: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = [torch.rand(3, 64, 64, generator=rng) for _ in range(3)]
    model = encoders[1].views(64)[-1]

    def made() -> pgd.Gradient:
        target = losses.target_distance(torch.zeros(1, 16, 16, 16))
        return losses.gradient(model, target, torch.Generator().manual_seed(0))

    value, together = ensemble.photo_by_photo(made(), model)(x, [0, 1, 2])
    monkeypatch.setattr(ensemble, "LARGEST_TOGETHER", 32)
    same, alone = ensemble.photo_by_photo(made(), model)(x, [0, 1, 2])
    assert float(same) == pytest.approx(float(value), rel=1e-5)
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(a / a.norm(), b / b.norm(), rtol=1e-4, atol=1e-6)
