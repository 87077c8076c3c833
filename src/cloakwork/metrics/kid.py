"""KID: squared distance between a set of pictures and the clean photos, in a network's features.

Bińkowski et al., "Demystifying MMD GANs", arXiv 1801.01401: the maximum mean discrepancy (MMD)
under a cubic kernel. With features of d numbers and k(x, y) = (x.y / d + 1)^3,

    mean over i != j of k(x_i, x_j) + mean over i != j of k(y_i, y_j) - 2 mean of k(x_i, y_j)

The estimate is unbiased, so it may be negative, and needs two pictures on either side.

Departures: no Inception network, whose weights are not here. Features are LPIPS-AlexNet's last
layer averaged over positions (256 numbers, "alexnet") or a CLIP's image embedding at unit length
times the root of its dimension, so that the kernel sees features of size one; numbers do not
compare with published KIDs, nor those of two networks. All pairs are used, no random blocks. The
photos are first brought to the pictures' own size, so that sharpness alone is no difference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import Unscored
from cloakwork.models.clip import load_clip, square
from cloakwork.models.lpips import load_lpips
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 2  # 1 rounded the long side of a resized photo; it is truncated, as published recipes do
METRIC = MetricInfo(
    scope="set", better="lower", range=(-math.inf, math.inf), unit="", reference="subject"
)
SIDE = 224  # px: what AlexNet was trained on


@dataclass(frozen=True)
class Config:
    """Which features."""

    features: str = "alexnet"
    """alexnet, or a CLIP: tiny, a folder or a hub id"""


def instrument(cfg: Config) -> str:
    """Name the network and its weights."""
    return "LPIPS AlexNet" if cfg.features == "alexnet" else str(load_clip(cfg.features))


def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return one number for n pictures (3 x H x W in [0, 1]) and clean photos of the subject.

    Raises:
        Unscored: fewer than two pictures or clean photos.
    """
    if min(len(images), len(reference)) < 2:
        raise Unscored(
            "'kid' needs two pictures and two clean photos at least; "
            f"there are {len(images)} and {len(reference)}."
        )
    side = min(min(x.shape[-2:]) for x in images)
    x, y = (
        _features([square(p, side) for p in photos], cfg.features) for photos in (images, reference)
    )
    return mmd(x, y)


def mmd(x: Tensor, y: Tensor) -> Tensor:
    """Estimate the squared distance without bias from features x (n x d) and y (m x d).

    >>> mmd(torch.ones(3, 5), torch.zeros(4, 5)).item()
    7.0
    """
    # torchmetrics' poly_mmd takes x and y to be equally many

    def k(a: Tensor, b: Tensor) -> Tensor:
        return (a.double() @ b.double().T / a.shape[1] + 1) ** 3

    def off_diagonal(a: Tensor) -> Tensor:
        return (a.sum() - a.trace()) / (len(a) * (len(a) - 1))

    return off_diagonal(k(x, x)) + off_diagonal(k(y, y)) - 2 * k(x, y).mean()


@torch.no_grad()
def _features(photos: Photos, name: str) -> Tensor:
    """Return features of n photos, n x d, all of size one."""
    if name != "alexnet":
        embedded = F.normalize(load_clip(name).pictures(photos), dim=-1)
        return embedded * embedded.shape[-1] ** 0.5
    net = load_lpips()
    return torch.cat([net.activations(square(p, SIDE)[None])[-1].mean((2, 3)) for p in photos])
