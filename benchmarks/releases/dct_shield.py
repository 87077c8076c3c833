"""DCT-Shield, of which no code is published: the loss and the step of arXiv 2504.17894.

Coefficients of JPEG's blocks, divided by the table of a quality (ITU T.81, Annex K, in libjpeg's
scaling), move by sign steps within eps of the photo's own, so that the latent of the picture they
stand for becomes small. They are not rounded, and the pixels keep a budget, as in the package.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from releases.parts import Draws, Found, Parts

LUMA = """
16 11 10 16 24 40 51 61
12 12 14 19 26 58 60 55
14 13 16 24 40 57 69 56
14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77
24 35 55 64 81 104 113 92
49 64 78 87 103 121 120 101
72 92 95 98 112 100 103 99
"""
CHROMA = (
    "17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66" + 38 * " 99"
)


def tables(quality: int) -> Tensor:
    """3 x 8 x 8, of Y, Cb and Cr."""
    factor = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = (
        torch.tensor([(int(q) * factor + 50) // 100 for q in text.split()]).clamp(1, 255).view(8, 8)
        for text in (LUMA, CHROMA)
    )
    return torch.stack([luma, chroma, chroma]).float()


def waves() -> Tensor:
    """The orthonormal cosine transform of eight samples."""
    rows = [
        [
            math.sqrt((1 if k == 0 else 2) / 8) * math.cos(math.pi * (2 * i + 1) * k / 16)
            for i in range(8)
        ]
        for k in range(8)
    ]
    return torch.tensor(rows)


COLOURS = torch.tensor(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]]
)


def dct_shield(
    parts: Parts,
    photos: Tensor,
    draws: Draws,
    *,
    quality: int,
    eps: float,
    step: float,
    steps: int,
    budget: float,
) -> Found:
    """All photos (sides of whole blocks) at once; the loss is the latent's plain norm, of each
    photo.
    """
    del draws  # nothing is
    dct, table = waves(), tables(quality)[:, None, None]
    level = torch.tensor([128.0, 0, 0])[:, None, None]
    n, _, height, width = photos.shape

    def coefficients(x: Tensor) -> Tensor:
        y = torch.einsum("ij,njhw->nihw", COLOURS, 255 * x) - level
        blocks = y.view(n, 3, height // 8, 8, width // 8, 8).permute(0, 1, 2, 4, 3, 5)
        return torch.einsum("ka,...ab,lb->...kl", dct, blocks, dct) / table

    def picture(c: Tensor) -> Tensor:
        blocks = torch.einsum("ka,...kl,lb->...ab", dct, c * table, dct)
        y = blocks.permute(0, 1, 2, 4, 3, 5).reshape(n, 3, height, width) + level
        return torch.einsum("ij,njhw->nihw", torch.linalg.inv(COLOURS), y) / 255

    c_0 = coefficients(photos)
    c, x, first = c_0, photos, None
    for _ in range(steps):
        leaf = x.detach().requires_grad_(True)
        norms = parts.vae.encode(2 * leaf - 1).latent_dist.mean.flatten(1).norm(dim=1)
        (g,) = torch.autograd.grad(-norms.sum(), leaf)
        first = g if first is None else first
        by_c = c.detach().requires_grad_(True)
        (way,) = torch.autograd.grad(picture(by_c), by_c, g)
        c = c_0 + (c + step * way.sign() - c_0).clamp(-eps, eps)
        x = (photos + (picture(c) - photos).clamp(-budget / 255, budget / 255)).clamp(0, 1)
        c = coefficients(x)
    assert first is not None
    return Found(first, x.detach())
