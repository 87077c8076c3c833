"""Displacement is measured on what a loader shows, not on the photos as they are."""

from __future__ import annotations

import pytest
import torch

from cloakwork.evaluation import bottleneck
from cloakwork.evaluation.displacement import displacement, displacements
from cloakwork.models import autoencoders
from cloakwork.photos.preprocessing import preprocess
from cloakwork.types import Photos


@pytest.fixture(scope="module")
def coder() -> autoencoders.Autoencoder:
    return autoencoders.load("tiny-b", "cpu")


def stripes(photo: torch.Tensor) -> torch.Tensor:
    """The photo with stripes of a pixel's width, at a budget of 11."""
    signs = 1.0 - 2 * (torch.arange(photo.shape[-1]) % 2)
    return (photo + 11 / 255 * signs).clamp(0, 1)


def test_stripes_of_a_pixel_are_gone_after_a_resize(
    coder: autoencoders.Autoencoder, photos: Photos
) -> None:
    others = {"stripes": [stripes(p) for p in photos]}
    as_it_is, resized = (displacement(coder, photos, others, size) for size in (128, 64))
    pairs = zip(as_it_is["stripes"], resized["stripes"], strict=True)
    assert all(after < 0.4 * before for before, after in pairs)


def test_each_arm_at_each_size(coder: autoencoders.Autoencoder, photos: Photos) -> None:
    moved = [(p + 0.05).clamp(0, 1) for p in photos]
    arms = {"clean": {"a": photos}, "protected": {"a": moved}}
    found = displacements([coder], arms)["tiny-b"]
    assert list(found) == [96, 128]
    for size, by_arm in found.items():
        x, other = preprocess(photos, size), preprocess(moved, size)
        plain = bottleneck.encoder_shift(coder, x, {"": other})[""].latents
        assert by_arm["protected"].mean == pytest.approx(sum(plain) / len(plain), rel=1e-5)
