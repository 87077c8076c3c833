"""DCT-Shield: its coefficients are a JPEG file's, its first step is the paper's, its changes are
what compression keeps."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.spies import Step
from PIL import Image
from torch import Tensor

from cloakwork.models.ldm import LDM
from cloakwork.protections import dct_shield
from cloakwork.protections.dct_shield import Config, coefficients
from cloakwork.state import RunState
from cloakwork.types import Photos

# at this quality no step of a coefficient leads out of [0, 1] from photos of little contrast
PLAIN = Config(budget=255, eps=1, steps=1, step=0.5, jpeg_quality=90)


def run(photos: Photos, model: LDM, cfg: Config) -> Photos:
    return dct_shield.protect(
        photos,
        [model],
        cfg,
        clean=None,
        rng=torch.Generator().manual_seed(4),
        state=RunState(),
    )


def encoded(photo: Tensor, quality: int) -> tuple[Tensor, dict[int, list[int]]]:
    """The photo after libjpeg without subsampling, and the tables in the file."""
    file = io.BytesIO()
    pixels = photo.mul(255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=0)
    picture: Any = Image.open(file)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255, picture.quantization


def waves() -> Tensor:
    """T.81's basis, frequency v, u by place y, x: 1/4 C(v) C(u) cos cos."""
    c = [1 / math.sqrt(2)] + 7 * [1.0]
    return torch.tensor(
        [
            [
                [
                    [
                        0.25
                        * c[v]
                        * c[u]
                        * math.cos((2 * y + 1) * v * math.pi / 16)
                        * math.cos((2 * x + 1) * u * math.pi / 16)
                        for x in range(8)
                    ]
                    for y in range(8)
                ]
                for u in range(8)
            ]
            for v in range(8)
        ]
    )


@pytest.mark.parametrize("quality", [30, 75])
def test_coefficients_are_those_of_the_file(quality: int, photos: Photos) -> None:
    """What libjpeg decodes has whole coefficients here, and those of the photo, rounded; but for a
    few, since libjpeg rounds its colours and pixels."""
    for photo in photos:  # one side of 150 px is not whole blocks
        soft = photo * 0.6 + 0.2  # away from black and white, where pixels are cut
        space = coefficients(soft, Config(jpeg_quality=quality))
        file = space.from_pixels(encoded(soft, quality)[0])[:, :16, :16]
        ours = space.from_pixels(soft)[:, :16, :16]
        part = [(c - c.round()).abs().mean() for c in (file, ours)]
        assert part[0] < 0.3 * part[1]
        assert (file.round() == ours.round()).float().mean() > 0.95


def test_there_and_back_is_the_photo(photos: Photos) -> None:
    for photo in photos:
        space = coefficients(photo, Config())
        assert torch.allclose(space.to_pixels(space.from_pixels(photo)), photo, atol=1e-5)


def test_first_step_is_a_step_of_each_coefficient(
    small: LDM, square: Photos, steps: list[Step]
) -> None:
    """Of half a step of the quantisation along the sign of its own gradient, which the chain rule
    gives by the basis written out."""
    one = [p * 0.2 + 0.4 for p in square[:1]]  # far from black and white, which would cut it
    (got,) = run(one, small, PLAIN)
    _, tables = encoded(one[0], PLAIN.jpeg_quality)
    table = torch.tensor([tables[0], tables[1], tables[1]]).float().view(3, 1, 1, 8, 8)
    to_rgb = torch.tensor([[1, 0, 1.402], [1, -0.344136, -0.714136], [1, 1.772, 0]])
    basis = waves()

    def pixels(c: Tensor) -> Tensor:
        blocks = torch.einsum("cijvu,vuyx->cijyx", c * table, basis)
        planes = blocks.permute(0, 1, 3, 2, 4).reshape(3, 128, 128)
        return one[0] + torch.einsum("rc,chw->rhw", to_rgb, planes) / 255

    zero = torch.zeros(3, 16, 16, 8, 8, requires_grad=True)
    (g,) = torch.autograd.grad(pixels(zero), zero, steps[0].grads[0])
    want = pixels(0.5 * g.sign())
    away = (got - want.clamp(0, 1)).abs()
    assert away.mean() < 1e-4 < (got - one[0]).abs().mean()


def test_brightness_alone_changes_all_colours_alike(small: LDM, square: Photos) -> None:
    one = [p * 0.2 + 0.4 for p in square[:1]]
    (y,), (all_,) = (run(one, small, replace(PLAIN, channels=c)) for c in ("y", "ycbcr"))
    for made, alike in ((y, True), (all_, False)):
        change = made - one[0]
        assert torch.allclose(change[0], change[2], atol=1e-5) == alike
        assert change.abs().max() > 0.01


def test_whole_steps_are_still_there_after_compression(small: LDM, square: Photos) -> None:
    """Half steps are mostly gone, which is what rounding is for."""
    one, kept = [p * 0.2 + 0.4 for p in square[:1]], {}
    for name, cfg in (
        ("whole", replace(PLAIN, steps=2, step=0.7, rounded=True)),
        ("parts", replace(PLAIN, step=0.3)),
    ):
        (got,) = run(one, small, replace(cfg, channels="y"))
        space = coefficients(one[0], replace(cfg, eps=1e9, rounded=False))
        before, after = (encoded(p, cfg.jpeg_quality)[0] for p in (one[0], got))
        meant = space.from_pixels(got) - space.from_pixels(one[0])
        found = space.from_pixels(after) - space.from_pixels(before)
        moved = meant.abs() > 0.2
        kept[name] = ((meant - found).abs() < 0.1)[moved].float().mean()
    assert kept["whole"] > 0.8 > 0.4 > kept["parts"]


def test_coefficients_stay_within_eps(small: LDM, square: Photos) -> None:
    one = [p * 0.2 + 0.4 for p in square[:1]]
    (got,) = run(one, small, replace(PLAIN, eps=0.4, steps=4, step=0.3))
    space = coefficients(one[0], replace(PLAIN, eps=1e9))
    change = (space.from_pixels(got) - space.from_pixels(one[0])).abs()
    assert 0.35 < change.max() < 0.41
