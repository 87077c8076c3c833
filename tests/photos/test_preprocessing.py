from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from cloakwork.photos.preprocessing import CENTRE, SLIDE, Preprocessing, preprocess
from cloakwork.types import Photos

RANDOM = Preprocessing(crop="slide", zoom=0.7, flip=0.5, blur=7, jpeg_quality=(50, 90))


def test_shapes_and_range_for_any_sizes(photos: Photos, rng: torch.Generator) -> None:
    small = torch.rand(3, 64, 301, generator=rng)
    for how in (CENTRE, SLIDE, RANDOM):
        x = preprocess([*photos, small], 128, how, rng)
        assert x.shape == (len(photos) + 1, 3, 128, 128)
        assert x.min() >= -0.02 and x.max() <= 1.02


def test_plain_view_is_what_pil_makes(photos: Photos) -> None:
    photo = photos[0]
    image = Image.fromarray(photo.mul(255).byte().permute(1, 2, 0).numpy())
    side = min(image.size)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    pil = image.crop((left, top, left + side, top + side)).resize(
        (64, 64), Image.Resampling.BILINEAR
    )
    ours = preprocess([photo], 64)[0].permute(1, 2, 0).mul(255).numpy()
    assert np.abs(ours - np.asarray(pil)).max() < 2


def test_gradient_is_the_true_one(rng: torch.Generator) -> None:
    photo = torch.rand(3, 20, 26, generator=rng, dtype=torch.float64).requires_grad_(True)
    for how in (CENTRE, Preprocessing(zoom=0.6, flip=1.0, blur=3)):
        assert torch.autograd.gradcheck(
            lambda p, how=how: preprocess([p], 16, how, torch.Generator().manual_seed(1)), photo
        )


def test_sliding_crop_reaches_every_column() -> None:
    photo = torch.rand(3, 64, 200).requires_grad_(True)
    g = torch.Generator().manual_seed(0)
    hits = torch.zeros(200)
    for _ in range(100):
        (grad,) = torch.autograd.grad(preprocess([photo], 64, SLIDE, g).sum(), photo)
        hits += (grad.abs().sum((0, 1)) > 0).float()
    assert hits.min() >= 10  # with a tenth of the budget a step, enough for all of it
    (centre,) = torch.autograd.grad(preprocess([photo], 64).sum(), photo)
    assert (centre.abs().sum((0, 1)) > 0).float().mean() < 0.35


def test_parameters_are_drawn_for_each_photo(rng: torch.Generator) -> None:
    photo = torch.rand(3, 64, 64, generator=rng)
    for how in (
        Preprocessing(zoom=0.5),
        Preprocessing(flip=0.5),
        Preprocessing(blur=7),
        Preprocessing(jpeg_quality=(10, 95)),
    ):
        x = preprocess([photo] * 12, 64, how, rng)
        assert len({round(float(p.sum() + p[..., 0].sum()), 3) for p in x}) > 1, how


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_jpeg_is_near_the_real_one(photos: Photos, quality: int) -> None:
    photo = photos[-1][:, :112, :120]
    buffer = io.BytesIO()
    image = Image.fromarray(photo.mul(255).round().byte().permute(1, 2, 0).numpy())
    image.save(buffer, "JPEG", quality=quality)
    real = torch.from_numpy(np.asarray(Image.open(buffer)).copy()).permute(2, 0, 1) / 255
    from cloakwork.photos.preprocessing import jpeg

    ours = jpeg(photo[None], torch.tensor([float(quality)]))[0]
    assert ours.shape == photo.shape
    loss_of = lambda x: (x - photo).square().mean()  # noqa: E731
    assert (ours - real).square().mean() < 0.5 * loss_of(real) + 2e-5
    leaf = photo.clone().requires_grad_(True)
    (grad,) = torch.autograd.grad(
        jpeg(leaf[None], torch.tensor([float(quality)])).square().sum(), leaf
    )
    assert torch.isfinite(grad).all() and grad.abs().mean() > 0
