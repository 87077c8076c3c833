"""Total variation minimisation: the smoothest photo near the given one, less some of its pixels.

Guo et al., "Countering Adversarial Images using Input Transformations", arXiv 1711.00117. With X a
random mask of the pixels that are dropped and z sought at the photo's own size:

    z = argmin  1/2 ||(1 - X) (z - x)||^2 + weight * sum over pixels of |grad z|

|grad z| is the Euclidean length of all six differences (right and down, three colours), so that
edges stay where they are in all colours. Solved by the primal-dual method of Chambolle and Pock
(Journal of Mathematical Imaging and Vision 40, 2011, algorithm 1).

Departures (from the paper, and from the code of DiffShortcut, arXiv 2406.18944, which drops 2 % of
the pixels at 64 x 64 px with a weight of .01 and a commercial solver):
- the photo keeps its size;
- the distance is squared, so that the weight means the same at every size (.03 here is about .01
  there, against 11/255);
- isotropic variation over all colours in place of the sum of the lengths of rows' and columns'
  differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cloakwork.errors import check_ranges
from cloakwork.models.ldm import LDM
from cloakwork.types import Photos

VERSION = 1
TINIEST = 1e-24
# steps of the solver that a gradient goes back through; the earlier ones are taken for constant
TAIL = 10


@dataclass(frozen=True)
class Config:
    """How smooth, and how well solved."""

    weight: float = 0.03
    """of the variation, for pixels in [0, 1]"""
    drop: float = 0.02
    """share of the pixels that the result need not be near to, 0 to 1"""
    steps: int = 100
    """of the solver"""

    def __post_init__(self) -> None:
        check_ranges(self, weight=(0, 100), drop=(0, 0.99), steps=(1, 100_000))


def purify(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of their own sizes."""
    return [
        smoothest(p, (torch.rand(p.shape[-2:], generator=rng) >= cfg.drop).to(p), cfg).clamp(0, 1)
        for p in photos
    ]


smooth = purify  # its last steps have a gradient


def smoothest(x: Tensor, kept: Tensor, cfg: Config) -> Tensor:
    """Find the minimiser z for one photo x (3 x H x W); kept (H x W) is 1 - X."""
    tau = sigma = 8**-0.5  # their product times the squared norm of grad, 8, must not exceed 1
    z, ahead = x.detach().clone(), x.detach().clone()
    dual = torch.zeros(2, *x.shape, dtype=x.dtype, device=x.device)
    for step in range(cfg.steps):
        with torch.set_grad_enabled(torch.is_grad_enabled() and step >= cfg.steps - TAIL):
            dual = dual + sigma * _grad(ahead)
            # over directions and colours; the root of 0, on flat areas, has no finite gradient
            length = (dual.square().sum((0, 1)) + TINIEST).sqrt()
            dual = (
                dual / (length / cfg.weight).clamp(min=1) if cfg.weight else torch.zeros_like(dual)
            )
            before, z = z, z + tau * _div(dual)
            z = (z + tau * kept * x) / (1 + tau * kept)
            ahead = 2 * z - before
    return z


def _grad(z: Tensor) -> Tensor:
    """Compute differences down and to the right, 2 x 3 x H x W; 0 at the far border.

    >>> _grad(torch.tensor([[[1.0, 4.0]]])).tolist()
    [[[[0.0, 0.0]]], [[[3.0, 0.0]]]]
    """
    down, right = torch.zeros_like(z), torch.zeros_like(z)
    down[:, :-1] = z[:, 1:] - z[:, :-1]
    right[:, :, :-1] = z[:, :, 1:] - z[:, :, :-1]
    return torch.stack([down, right])


def _div(dual: Tensor) -> Tensor:
    """Apply minus the adjoint of `_grad`, 2 x 3 x H x W to 3 x H x W."""
    (down, right), out = dual, torch.zeros_like(dual[0])
    out[:, :-1] += down[:, :-1]
    out[:, 1:] -= down[:, :-1]
    out[:, :, :-1] += right[:, :, :-1]
    out[:, :, 1:] -= right[:, :, :-1]
    return out
