"""What photos are written in while PGD changes them: pixels, or the coefficients of a transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Parametrisation:
    """What a photo is written in while PGD changes it, such as the coefficients of a transform."""

    from_pixels: Callable[[Tensor], Tensor]
    """a photo, 3 x H x W -> its parameters, of any shape"""
    to_pixels: Callable[[Tensor], Tensor]
    """parameters -> the photo; differentiable, undoes `from_pixels`"""
    scale: float = 1.0
    """a step of 1 changes a parameter by 1 / scale"""

    def gradient(self, u: Tensor, by_pixels: Tensor) -> Tensor:
        """Return the gradient by the parameters u of what has this gradient by the pixels.

        >>> doubled = Parametrisation(lambda x: x / 2, lambda u: 2 * u)
        >>> doubled.gradient(torch.zeros(2), torch.tensor([1.0, -3.0]))
        tensor([ 2., -6.])
        """
        leaf = u.detach().requires_grad_(True)
        return torch.autograd.grad(self.to_pixels(leaf), leaf, by_pixels)[0]


# the usual one: each pixel for itself, in steps of 1/255
PIXELS = Parametrisation(lambda x: x, lambda u: u, scale=255)
