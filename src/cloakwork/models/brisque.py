"""BRISQUE's natural-scene statistics and its regressor (Mittal, Moorthy, Bovik 2012), in torch.

Weights: the support vectors and the ranges of the features from the registry package brisque 0.2.0
(Apache-2.0, Rehan Guha), trained on the LIVE database, converted by training/convert_brisque.py.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

WEIGHTS = Path(__file__).with_name("brisque_svm.safetensors")
GAMMA = 0.05  # of the radial kernel
WINDOW, SIGMA = 7, 7 / 6
STRIP = 500_000  # pixels


def features(grey: Tensor) -> Tensor:
    """Compute the 18 statistics of one scale of a grey picture.

    Two come from a fit of the coefficients, sixteen from fits of four products of neighbours. Sums
    are gathered strip by strip, so that memory stays bounded.

    Args:
        grey: H x W in [0, 1], double.
    """
    margin = WINDOW // 2
    # zeros beyond the border, as in the release
    padded = F.pad(grey, (margin, margin, margin, margin))
    sums = torch.zeros(5, 5, dtype=torch.double)
    rows = max(1, STRIP // grey.shape[1])
    for top in range(0, len(grey), rows):
        # one row more than the strip, for products with the row below
        here = normalised(padded[top : top + rows + 1 + 2 * margin])
        strip, below = here[:rows], here[1 : rows + 1]
        above = strip[: len(below)]
        maps = (
            strip,
            strip[:, :-1] * strip[:, 1:],
            above * below,
            above[:, :-1] * below[:, 1:],
            below[:, :-1] * above[:, 1:],
        )
        sums += torch.stack([moments(x) for x in maps])
    first, *products = (asymmetric_fit(m) for m in sums)
    alpha, _, left, right = first
    return torch.stack([alpha, (left + right) / 2, *(value for fit in products for value in fit)])


def normalised(padded: Tensor) -> Tensor:
    """Compute the mean-subtracted, contrast-normalised coefficients three pixels inside."""
    line = torch.exp(-((torch.arange(WINDOW) - WINDOW // 2).double() ** 2) / (2 * SIGMA**2))
    kernel = (line[:, None] * line / line.sum() ** 2)[None, None]
    mu, square = (F.conv2d(x[None, None], kernel)[0, 0] for x in (padded, padded**2))
    margin = WINDOW // 2
    return (padded[margin:-margin, margin:-margin] - mu) / ((square - mu**2).abs().sqrt() + 1 / 255)


def moments(x: Tensor) -> Tensor:
    """Count the values below zero and the others, and add up their squares and all magnitudes.

    >>> moments(torch.tensor([-2.0, 1.0, 3.0])).tolist()
    [1.0, 2.0, 4.0, 10.0, 6.0]
    """
    left = x < 0
    squares = x.square()
    below = (squares * left).sum()
    count = left.sum().double()
    return torch.stack([count, x.numel() - count, below, squares.sum() - below, x.abs().sum()])


def asymmetric_fit(sums: Tensor) -> list[Tensor]:
    """Fit an asymmetric generalised Gaussian to `moments`.

    Returns:
        Shape, mean, left and right variance; NaN where one side is empty.
    """
    n_left, n_right, squares_left, squares_right, magnitudes = sums
    left, right = squares_left / n_left, squares_right / n_right
    gamma = (left / right).sqrt()
    n = n_left + n_right
    r = (magnitudes / n) ** 2 / ((squares_left + squares_right) / n)
    goal = r * (gamma**3 + 1) * (gamma + 1) / (gamma**2 + 1) ** 2
    alpha = _shape(goal)
    spread = ((1 / alpha).lgamma() - (3 / alpha).lgamma()).mul(0.5).exp()
    mean = (
        (right.sqrt() - left.sqrt()) * ((2 / alpha).lgamma() - (1 / alpha).lgamma()).exp() * spread
    )
    return [alpha, mean, left, right]


def _shape(goal: Tensor) -> Tensor:
    """Find the a with Gamma(2/a)^2 / (Gamma(1/a) Gamma(3/a)) = goal by bisection.

    It lies in [0.2, 10], the release's range.
    """
    low, high = 0.2, 10.0
    for _ in range(50):
        a = (low + high) / 2
        value = math.exp(2 * math.lgamma(2 / a) - math.lgamma(1 / a) - math.lgamma(3 / a))
        low, high = (a, high) if value < goal else (low, a)  # it grows with a
    return goal * 0 + (low + high) / 2  # NaN stays NaN


@cache
def load_svm() -> dict[str, Tensor]:
    """Load the regressor.

    Returns:
        "vectors" (n x 36), their "weights" (n), the "offset" (1), and the "lowest" and "highest"
        value of every feature (36 each).
    """
    return {k: v.double() for k, v in load_file(WEIGHTS).items()}


def predict(values: Tensor) -> Tensor:
    """Predict the quality from 36 features: about 0 (good) to 100 (bad)."""
    svm = load_svm()
    x = -1 + 2 * (values - svm["lowest"]) / (svm["highest"] - svm["lowest"])
    kernel = (-GAMMA * (svm["vectors"] - x).square().sum(1)).exp()
    return svm["weights"] @ kernel - svm["offset"][0]
