"""The patterns that perturb photos in one pass."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cloakwork.errors import UserError
from cloakwork.evaluation.displacement import displacement
from cloakwork.files import SAMPLE_PHOTOS
from cloakwork.models import autoencoders, protector
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float
from cloakwork.protections import learned, noise
from cloakwork.state import RunState
from cloakwork.types import Photos


def run(photos: Photos, seed: int = 1, **fields: object) -> Photos:
    cfg, rng = learned.Config(**fields), torch.Generator().manual_seed(seed)  # type: ignore[arg-type]
    return learned.protect(photos, [], cfg, clean=None, rng=rng, state=RunState())


@pytest.mark.parametrize("size", [128, 192])
@pytest.mark.parametrize("name", ["tiny", "tiny-b", "sd3:tiny", "flux2:tiny"])
def test_latents_move_farther_than_by_noise(name: str, size: int) -> None:
    """At sizes other than the photo's own, where stripes of a pixel's width are gone."""
    photos = [as_float(load_photo(SAMPLE_PHOTOS / "chelsea.png").pixels)[:, :256, :256]]
    rng = torch.Generator().manual_seed(1)
    noisy = noise.protect(photos, [], noise.Config(), clean=None, rng=rng, state=RunState())
    moved = displacement(
        autoencoders.load(name, "cpu"), photos, {"learned": run(photos), "noise": noisy}, size
    )
    assert moved["learned"][0] > 1.3 * moved["noise"][0]


def test_large_photos_are_perturbed_at_the_size_of_loaders() -> None:
    """What is enlarged has no detail finer than the factor."""
    photo = torch.full((3, 256, 320), 0.5)
    (whole,) = run([photo])
    (coarse,) = run([photo], side=64)
    fine = [(x - photo).diff(dim=-1).abs().mean().item() for x in (whole, coarse)]
    assert fine[0] > 2 * fine[1]
    assert coarse.shape == photo.shape


def test_the_seed_moves_the_tiles() -> None:
    photo = torch.full((3, 96, 96), 0.5)
    assert not torch.equal(run([photo])[0], run([photo], seed=2)[0])


def test_photos_of_a_set_have_patterns_at_other_places() -> None:
    first, second = run(2 * [torch.full((3, 96, 96), 0.5)])
    assert not torch.equal(first, second)


def test_patterns_are_written_and_read(tmp_path: Path) -> None:
    photo = torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0))
    side = protector.TILE
    protector.save(2 * torch.rand(3, 3, side, side, generator=torch.Generator()) - 1, tmp_path)
    (changed,) = run([photo], weights=str(tmp_path))
    assert (changed - photo).abs().max() <= 11.01 / 255
    assert not torch.equal(changed, run([photo])[0])
    assert learned.instrument(learned.Config(weights=str(tmp_path))) != learned.instrument(
        learned.Config()
    )
    (tmp_path / protector.WEIGHTS).write_bytes(b"no patterns")
    protector.load.cache_clear()
    with pytest.raises(UserError, match="There are no patterns in"):
        run([photo], weights=str(tmp_path))
    with pytest.raises(UserError, match="side is 8"):
        learned.Config(side=8)


def test_a_pattern_is_the_budget_times_what_was_learned(tmp_path: Path) -> None:
    """Tiled from some place on; nothing else."""
    photo = torch.full((3, 40, 300), 0.5)
    protector.save(torch.linspace(-1, 1, 128).expand(1, 3, 128, 128), tmp_path)
    (changed,) = run([photo], weights=str(tmp_path), budget=8)
    row = 255 * (changed - photo)[0, 0]
    assert torch.allclose(row[:172], row[128:], atol=1e-4)
    assert row.max().item() == pytest.approx(8, abs=0.1)
    assert row.min().item() == pytest.approx(-8, abs=0.1)
