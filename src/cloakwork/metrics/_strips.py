"""Horizontal strips of two photos, so that the memory for comparing large ones stays bounded."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from cloakwork.photos.tensors import floats


def strips(
    a: Tensor, b: Tensor, pixels: int, shortest: int = 1
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Cut two photos of one size alike into horizontal strips.

    Args:
        a: 3 x H x W, floats in [0, 1] or uint8.
        b: likewise.
        pixels: how many of them a strip has, about, at most.
        shortest: height that no strip may fall below, for what cannot score less; goes before
            `pixels`.

    Returns:
        For every strip, from above: its share of the height, and the strip of a and of b, floats.

    >>> import torch
    >>> photo = torch.zeros(3, 10, 8)
    >>> [(share, tuple(x.shape)) for share, x, _ in strips(photo, photo, pixels=40)]
    [(0.5, (3, 5, 8)), (0.5, (3, 5, 8))]
    >>> [share for share, _, _ in strips(photo, photo, pixels=40, shortest=6)]
    [1.0]
    """
    height, width = a.shape[-2:]
    count = min(-(-height * width // pixels), height // shortest)
    for x, y in zip(a.tensor_split(count, dim=-2), b.tensor_split(count, dim=-2), strict=True):
        yield x.shape[-2] / height, floats(x), floats(y)
