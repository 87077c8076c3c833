"""What the encoder says of originals is computed once for each place, and the same to the bit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cloakwork.models.ldm import LDM
from cloakwork.perturbation import losses
from cloakwork.perturbation.originals import Originals, gradient_with_originals
from cloakwork.photos.preprocessing import SLIDE, preprocess
from cloakwork.types import Photos


def seeded(seed: int = 5) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def encoded(small: LDM, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collects how many pictures each call of the encoder is given."""
    seen: list[int] = []
    encode = small.vae.encode
    monkeypatch.setattr(small.vae, "encode", lambda x: (seen.append(len(x)), encode(x))[1])
    return seen


def test_square_photos_are_encoded_once(small: LDM, square: Photos, encoded: list[int]) -> None:
    originals = Originals(square)
    for seed in range(3):
        view, moments = originals.seen(small, [0, 1, 2], seeded(seed))
    assert encoded == [3]
    assert torch.equal(view, preprocess(square, small.size, SLIDE, seeded()))
    fresh = small.moments(view)
    assert torch.equal(moments, fresh) and moments.stride() == fresh.stride()


def test_oblong_photos_are_encoded_once_for_each_place(
    small: LDM, photos: Photos, encoded: list[int]
) -> None:
    originals = Originals(photos)
    for seed in (1, 2, 1, 2):
        originals.seen(small, [0, 1], seeded(seed))
    assert encoded == [2, 2], "the places of seed 1, those of seed 2"
    for seed in (1, 2):
        view, moments = originals.seen(small, [0, 1], seeded(seed))
        assert torch.equal(moments, small.moments(view))


def test_what_is_kept_does_not_depend_on_the_photos_beside_it(small: LDM, square: Photos) -> None:
    a, b, c = square
    one, two = (Originals(photos).seen(small, [0, 1], seeded())[1] for photos in ([a, b], [c, b]))
    assert torch.equal(one[1], two[1]) and not torch.equal(one[0], two[0])


def test_other_micro_batches_and_models_are_encoded_anew(
    small: LDM, square: Photos, encoded: list[int]
) -> None:
    originals = Originals(square)
    for ldm, which in ((small, [0, 1]), (small, [1]), (replace(small, weights="b"), [1])):
        originals.seen(ldm, which, seeded())
    assert encoded == [2, 1, 1]


def test_no_more_is_kept_than_there_is_room_for(
    small: LDM, photos: Photos, encoded: list[int]
) -> None:
    originals = Originals(photos, most_bytes=2 * small.moments(photos[2][None]).nbytes)
    encoded.clear()
    for seed in (1, 2, 1, 3, 1, 2):
        originals.seen(small, [0], seeded(seed))
    assert len(originals._kept) == 2
    assert encoded == [1, 1, 1, 1], "seed 1 was asked for again and again; 2 had to go for 3"


@pytest.mark.parametrize("posterior", [False, True])
def test_gradients_are_those_without_anything_kept(
    posterior: bool, small: LDM, square: Photos
) -> None:
    """Over some steps, in which the model draws from the posterior, or does not."""
    ldm = replace(small, sample_posterior=posterior)
    found = []
    for room in (2**20, 0):
        originals, rng = Originals(square, most_bytes=room), seeded()
        gradient = gradient_with_originals(
            ldm, originals, lambda view, z_0, which: losses.target_distance(z_0), rng
        )
        nudged = [(p + 0.03).clamp(0, 1) for p in square]
        found.append([gradient(nudged, [0, 1, 2]) for _ in range(3)])
    for (value, grads), (value_0, grads_0) in zip(*found, strict=True):
        assert value == value_0
        assert all(torch.equal(a, b) for a, b in zip(grads, grads_0, strict=True))
