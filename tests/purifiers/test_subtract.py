"""The purifier that knows the patterns of the protection `learned`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.files import SAMPLE_PHOTOS
from cloakwork.models import protector
from cloakwork.photos.photo import load_photo
from cloakwork.photos.tensors import as_float, to_bytes
from cloakwork.protections import learned, noise
from cloakwork.purifiers import subtract
from cloakwork.state import RunState


def protected(photo: Tensor, module=learned, **fields: object) -> Tensor:
    """As a file would hold it."""
    rng = torch.Generator().manual_seed(4)
    cfg = module.Config(**fields)
    (found,) = module.protect([photo], [], cfg, clean=None, rng=rng, state=RunState())
    return as_float(to_bytes(found))


def purified(photo: Tensor, **fields: object) -> Tensor:
    (found,) = subtract.purify([photo], None, subtract.Config(**fields), rng=torch.Generator())
    return found


def apart(a: Tensor, b: Tensor) -> float:
    """Root mean square, 1/255."""
    return 255 * (a - b).square().mean().sqrt().item()


@pytest.mark.parametrize("name", ["chelsea.png", "rocket.jpg", "coffee.png"])
def test_the_photo_comes_back(name: str) -> None:
    photo = as_float(load_photo(SAMPLE_PHOTOS / name).pixels)
    changed = protected(photo)
    assert apart(purified(changed), photo) < 0.3 * apart(changed, photo)
    assert torch.equal(purified(photo), photo), "a clean photo stays as it is"
    noisy = protected(photo, noise)
    assert torch.equal(purified(noisy), noisy)


def test_a_pattern_that_nobody_knows_comes_off_as_well(tmp_path: Path) -> None:
    """One of coarse grains, as learned ones are; the photo holds six tiles."""
    grains = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(8)) - 0.5
    protector.save(F.interpolate(grains, scale_factor=4.0, mode="bicubic").sign(), tmp_path)
    photo = as_float(load_photo(SAMPLE_PHOTOS / "chelsea.png").pixels)
    changed = protected(photo, weights=str(tmp_path))
    assert torch.equal(purified(changed), changed), "it is none of the package's"
    assert apart(purified(changed, blind=True), photo) < 0.6 * apart(changed, photo)
    assert apart(purified(photo, blind=True), photo) < 2.5, "a clean photo stays nearly as it is"
    small = changed[:, :256, :255]
    assert torch.equal(purified(small, blind=True), small), "too few tiles to tell"


def test_a_cut_photo_is_no_hindrance() -> None:
    photo = as_float(load_photo(SAMPLE_PHOTOS / "chelsea.png").pixels)
    changed = protected(photo)
    cut = (slice(None), slice(11, 280), slice(37, 400))
    assert apart(purified(changed[cut]), photo[cut]) < 0.3 * apart(changed[cut], photo[cut])


def test_a_photo_that_was_perturbed_at_a_smaller_size_comes_back() -> None:
    photo = as_float(load_photo(SAMPLE_PHOTOS / "chelsea.png").pixels)
    changed = protected(photo, side=200)
    assert apart(purified(changed, side=200), photo) < 0.3 * apart(changed, photo)
    assert torch.equal(purified(changed), changed), "at its own size the pattern is not there"
