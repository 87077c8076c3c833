"""CIEDE2000, mean over pixels: how far apart two photos' colours look; about 1 is just noticeable.

Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula", Color Research & Application 30 (2005);
equation numbers in the margin are theirs, with k_L = k_C = k_H = 1. sRGB (IEC 61966-2-1) to CIELAB
under D65, 2 degree observer. Photos are scored in strips of rows, so that memory stays bounded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 1
METRIC = MetricInfo(
    scope="image", better="lower", range=(0, math.inf), unit="Delta E", reference="originals"
)
STRIP = 500_000  # pixels
TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
WHITE = (0.95047, 1.0, 1.08883)  # D65


@dataclass(frozen=True)
class Config:
    """Nothing to choose."""


def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n mean differences of n photos (3 x H x W in [0, 1]) from their originals."""
    return torch.stack(
        [_mean(a.flatten(1), b.flatten(1)) for a, b in zip(images, reference, strict=True)]
    )


def by_pixel(photo: Tensor, original: Tensor) -> Tensor:
    """Return the difference of each pixel, 1 x H x W, of two photos, 3 x H x W in [0, 1] each.

    >>> white, half_black = torch.ones(3, 1, 2), torch.tensor([0.0, 1.0]).expand(3, 1, 2)
    >>> by_pixel(half_black, white).round().tolist()
    [[[100.0, 0.0]]]
    """
    strips = _strips(photo.flatten(1), original.flatten(1))
    return torch.cat(list(strips)).view(1, *photo.shape[1:])


def _mean(a: Tensor, b: Tensor) -> Tensor:
    """Average the difference over the pixels of two photos, 3 x (H W) each."""
    return torch.stack([strip.sum() for strip in _strips(a, b)]).sum() / a.shape[1]


def _strips(a: Tensor, b: Tensor) -> Iterator[Tensor]:
    """Yield the differences of the pixels of two photos, 3 x (H W) each, strip by strip."""
    for x, y in zip(a.split(STRIP, dim=1), b.split(STRIP, dim=1), strict=True):
        yield difference(lab(x), lab(y))


def lab(rgb: Tensor) -> Tensor:
    """Convert sRGB in [0, 1], 3 x ..., to CIELAB (L in [0, 100]).

    >>> [round(v) for v in lab(torch.ones(3, 1))[:, 0].abs().tolist()]  # white
    [100, 0, 0]
    """
    # kornia.color.rgb_to_lab rounds the matrix and the white point, which moves a colour by .005
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp(min=0) + 0.055) / 1.055) ** 2.4)
    xyz = torch.tensordot(torch.tensor(TO_XYZ, dtype=rgb.dtype), linear, dims=1)
    xyz = xyz / torch.tensor(WHITE, dtype=rgb.dtype).view(3, *[1] * (rgb.dim() - 1))
    f = torch.where(
        xyz > (6 / 29) ** 3, xyz.clamp(min=1e-6) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29
    )
    return torch.stack([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def difference(lab1: Tensor, lab2: Tensor) -> Tensor:
    """Compute CIEDE2000 of two CIELAB tensors, 3 x ... each.

    >>> purple = torch.tensor([50.0, 2.6772, -79.7751])[:, None]
    >>> blue = torch.tensor([50.0, 0.0, -82.7485])[:, None]
    >>> round(difference(purple, blue).item(), 3)
    2.042
    """
    (L1, a1, b1), (L2, a2, b2) = lab1, lab2
    C7 = ((a1.hypot(b1) + a2.hypot(b2)) / 2) ** 7  # (2), (3)
    G = 0.5 * (1 - (C7 / (C7 + 25.0**7)).sqrt())  # (4)
    a1, a2 = (1 + G) * a1, (1 + G) * a2  # (5)
    C1, C2 = a1.hypot(b1), a2.hypot(b2)  # (6)
    h1, h2 = torch.atan2(b1, a1).rad2deg() % 360, torch.atan2(b2, a2).rad2deg() % 360  # (7)
    grey = C1 * C2 == 0
    dL, dC = L2 - L1, C2 - C1  # (8), (9)
    dh = h2 - h1  # (10)
    dh = torch.where(dh > 180, dh - 360, torch.where(dh < -180, dh + 360, dh)).masked_fill(grey, 0)
    dH = 2 * (C1 * C2).sqrt() * (dh / 2).deg2rad().sin()  # (11)
    L, C = (L1 + L2) / 2, (C1 + C2) / 2  # (12), (13)
    total = h1 + h2
    far = (h1 - h2).abs() > 180
    h = torch.where(far, torch.where(total < 360, total + 360, total - 360), total) / 2  # (14)
    h = torch.where(grey, total, h)
    T = (
        1
        - 0.17 * _cos(h - 30)
        + 0.24 * _cos(2 * h)
        + 0.32 * _cos(3 * h + 6)
        - 0.20 * _cos(4 * h - 63)
    )  # (15)
    turn = 30 * (-(((h - 275) / 25) ** 2)).exp()  # (16)
    R_C = 2 * (C**7 / (C**7 + 25.0**7)).sqrt()  # (17)
    S_L = 1 + 0.015 * (L - 50) ** 2 / (20 + (L - 50) ** 2).sqrt()  # (18)
    S_C, S_H = 1 + 0.045 * C, 1 + 0.015 * C * T  # (19), (20)
    R_T = -(2 * turn).deg2rad().sin() * R_C  # (21)
    l, c, s = dL / S_L, dC / S_C, dH / S_H  # noqa: E741
    return (l**2 + c**2 + s**2 + R_T * c * s).clamp(min=0).sqrt()  # (22)


def _cos(degrees: Tensor) -> Tensor:
    return degrees.deg2rad().cos()
