"""Encoders alone: every class of diffusers, saved and read back, at the sizes photos have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import small_autoencoders
from helpers.small_autoencoders import KINDS

from cloakwork.models import autoencoders, hub, latents
from cloakwork.models.autoencoders import view_sizes


@pytest.mark.parametrize("name", KINDS)
@torch.no_grad()
def test_saved_and_read_back(name: str, tmp_path: Path, rng: torch.Generator) -> None:
    folder = small_autoencoders.save(name, tmp_path / name)
    found = autoencoders.load(str(folder), "cpu")
    x = torch.rand(1, 3, 32, 32, generator=rng)
    assert torch.equal(found.encode(x), latents.encode(small_autoencoders.make(name), x))
    assert autoencoders.is_alone(str(folder)) and found.scale == KINDS[name][2]


@torch.no_grad()
def test_a_sample_of_the_posterior_comes_from_the_generator(
    tmp_path: Path, rng: torch.Generator
) -> None:
    folder = str(small_autoencoders.save("flux2", tmp_path))
    mean, sampled = (
        autoencoders.load(folder, "cpu", sample_posterior=on).encode for on in (False, True)
    )
    x = torch.rand(1, 3, 32, 32, generator=rng)
    first, again = (sampled(x, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(first, again) and not torch.equal(first, mean(x))
    with pytest.raises(ValueError, match="without a generator"):
        sampled(x)


def test_a_size_is_taken_from_the_config_where_it_means_one(tmp_path: Path) -> None:
    vae = small_autoencoders.make("sd")
    sizes = []
    for given in (32, 768):  # 32 is what diffusers writes where nobody named a size
        vae.register_to_config(sample_size=given)
        vae.save_pretrained(tmp_path / str(given))
        sizes.append(autoencoders.load(str(tmp_path / str(given)), "cpu").size)
    assert sizes == [512, 768]


@pytest.mark.parametrize("side", [20, 64, 128, 500, 512, 1000, 4000])
def test_no_view_shows_more_than_the_photo_has_and_one_is_a_resize(side: int) -> None:
    views = view_sizes((512, 1024), side)
    assert all(view % 32 == 0 for view in views) and max(views) <= max(32, side)
    assert side <= 32 or min(views) < side


def test_an_embedded_model_and_a_pipeline_are_no_encoders_alone(small_name: str) -> None:
    assert not autoencoders.is_alone("tiny") and not autoencoders.is_alone(small_name)
    assert autoencoders.is_alone(f"{small_name}/vae")


def test_a_hub_id_is_looked_at_before_weights_are_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_autoencoders.save("flux2", tmp_path / "coder")
    (tmp_path / "pipe").mkdir()
    (tmp_path / "pipe" / "model_index.json").write_text("{}")
    wanted = []

    def fetch(name: str, patterns: list[str], **_: object) -> Path:
        wanted.append(patterns)
        return tmp_path / name.partition("/")[2]

    monkeypatch.setattr(hub, "fetch", fetch)
    assert autoencoders.is_alone("owner/coder") and not autoencoders.is_alone("owner/pipe")
    assert wanted == 2 * [["model_index.json", "config.json"]]
    assert autoencoders.load("owner/coder", "cpu").scale == 4
