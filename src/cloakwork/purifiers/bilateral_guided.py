"""Adverse Cleaner: many bilateral filterings, then guided ones that put the photo's edges back.

lllyasviel/AdverseCleaner (2023; its author notes that the guide, being the photo itself, brings
some noise back). For the photo x in [0, 255]:

    y <- bilateral(y), 64 times from y = x   (5 px wide; standard deviations: 8 in colour, 8 px)
    y <- guided(y), 4 times, x the guide     (radius 4 px, eps 16)

Bilateral filter: Tomasi and Manduchi, ICCV 1998. Guided filter with a guide in colours: He, Sun and
Tang, TPAMI 2013. As in OpenCV, which the release calls, distances of colours are sums over the
three, and "5 px wide" is a disc of radius 2.

Departures: beyond the border there are no pixels (OpenCV mirrors the photo); there the means are
over those that there are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import check_ranges
from cloakwork.models.ldm import LDM
from cloakwork.types import Photos

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Names as in OpenCV; colours in 1/255."""

    bilateral_steps: int = 64
    """how often the bilateral filter runs"""
    radius: int = 2
    """of the bilateral filter's disc, pixels"""
    sigma_color: float = 8
    """its standard deviation in colour, 1/255, of the sum over three colours"""
    sigma_space: float = 8
    """its standard deviation in place, pixels"""
    guided_steps: int = 4
    """how often the guided filter runs"""
    guided_radius: int = 4
    """of the guided filter's square, pixels"""
    eps: float = 16
    """what counts as an edge for the guided filter: variance of colours, 1/255^2"""

    def __post_init__(self) -> None:
        check_ranges(
            self,
            bilateral_steps=(0, 10_000),
            radius=(1, 50),
            sigma_color=(0.01, math.inf),
            sigma_space=(0.01, math.inf),
            guided_steps=(0, 10_000),
            guided_radius=(1, 500),
            eps=(1e-6, math.inf),
        )


def purify(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of their own sizes."""
    return [_clean(p * 255, cfg).clamp(0, 255) / 255 for p in photos]


def _clean(x: Tensor, cfg: Config) -> Tensor:
    """Clean one photo, 3 x H x W in [0, 255]."""
    y = x
    for _ in range(cfg.bilateral_steps):
        y = bilateral(y, cfg)
    return guided(x, y, cfg) if cfg.guided_steps else y


def bilateral(y: Tensor, cfg: Config) -> Tensor:
    """Filter 3 x H x W in [0, 255] once.

    Two pixels weigh alike for each other, so that every pair is looked at once.
    """
    total, weights = y.clone(), torch.ones_like(y[:1])
    reach = range(-cfg.radius, cfg.radius + 1)
    half = [
        (dy, dx)
        for dy in reach
        for dx in reach
        if (dy, dx) > (0, 0) and dy**2 + dx**2 <= cfg.radius**2
    ]
    for dy, dx in half:
        here, there = _overlap(y.shape, dy, dx), _overlap(y.shape, -dy, -dx)
        a, b = y[here], y[there]
        colour = (a - b).abs().sum(0, keepdim=True) / cfg.sigma_color
        place = (dy**2 + dx**2) / cfg.sigma_space**2
        w = torch.exp(-0.5 * (colour.square() + place))
        total[here] += w * b
        total[there] += w * a
        weights[here] += w
        weights[there] += w
    return total / weights


def _overlap(shape: torch.Size, dy: int, dx: int) -> tuple[slice, slice, slice]:
    """Return the part of a picture (3 x H x W) whose pixels have one at an offset from them.

    >>> _overlap(torch.Size((3, 8, 9)), 1, -2)
    (slice(None, None, None), slice(0, 7, None), slice(2, 9, None))
    """
    (_, height, width) = shape
    return (
        slice(None),
        slice(max(0, -dy), height - max(0, dy)),
        slice(max(0, -dx), width - max(0, dx)),
    )


def guided(x: Tensor, y: Tensor, cfg: Config) -> Tensor:
    """Filter y as often as `cfg` says under the guide x, both 3 x H x W in [0, 255].

    In every square y is taken for a linear function of x's three colours.
    """
    # kornia.filters.guided_blur mirrors the photo at its border; here no pixels are made up
    height, width = x.shape[-2:]

    def mean(v: Tensor) -> Tensor:
        r, flat = cfg.guided_radius, v.reshape(-1, 1, height, width)
        for kernel, pad in (((2 * r + 1, 1), (r, 0)), ((1, 2 * r + 1), (0, r))):
            flat = F.avg_pool2d(flat, kernel, 1, pad, count_include_pad=False)
        return flat.view(v.shape)

    m_x = mean(x)
    cov = (
        mean(x[:, None] * x[None])
        - m_x[:, None] * m_x[None]
        + cfg.eps * torch.eye(3).to(x)[..., None, None]
    )
    inverse = torch.linalg.inv(cov.permute(2, 3, 0, 1)).permute(2, 3, 0, 1)
    for _ in range(cfg.guided_steps):
        m_y = mean(y)
        cov_xy = mean(x[:, None] * y[None]) - m_x[:, None] * m_y[None]
        a = (inverse[:, :, None] * cov_xy[None]).sum(1)  # colours of x, colours of y
        b = m_y - (a * m_x[:, None]).sum(0)
        y = (mean(a) * x[:, None]).sum(0) + mean(b)
    return y
