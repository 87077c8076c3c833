"""DISTS (Ding et al., arXiv 2004.07728) over the features of VGG16, in plain torch.

Checked against dists-pytorch 0.1. Its weights of structure and texture are here, in
dists_weights.safetensors (MIT; from that registry package, converted by training/convert_dists.py).
VGG16's are not: they are too large to come along.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS = Path(__file__).with_name("dists_weights.safetensors")
# convolutions of each stage, and their channels
STAGES = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
CHANNELS = (3, *(channels for _, channels in STAGES))
# places of the convolutions among VGG16's layers, as torchvision and timm number them
PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
SMALL = 1e-6  # keeps quotients of flat features finite


class DISTS(nn.Module):
    """Distance of two batches of pictures by structure and texture: n distances.

    Both are n x 3 x H x W in [0, 1]; sides have 16 pixels or more.
    """

    mean: Tensor
    std: Tensor
    blur: Tensor
    alpha: Tensor
    beta: Tensor

    def __init__(self) -> None:
        super().__init__()
        widths = [channels for count, channels in STAGES for _ in range(count)]
        pairs = zip([3, *widths], widths, strict=False)
        self.convs = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1) for a, b in pairs])
        taps = torch.tensor([1.0, 2, 1]) / 4
        # ImageNet's statistics
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None], False)
        self.register_buffer("blur", (taps[:, None] * taps)[None, None], False)
        weights = load_file(WEIGHTS)
        total = weights["alpha"].sum() + weights["beta"].sum()
        self.register_buffer("alpha", weights["alpha"] / total, False)
        self.register_buffer("beta", weights["beta"] / total, False)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the pictures themselves and the last map of each stage, n x c x h x w each."""
        maps, convs = [x], iter(self.convs)
        x = (x - self.mean) / self.std
        for i, (count, _) in enumerate(STAGES):
            x = self._pool(x) if i else x
            for _ in range(count):
                x = F.relu(next(convs)(x))
            maps.append(x)
        return maps

    def _pool(self, x: Tensor) -> Tensor:
        """Halve maps by the root of the mean square, which folds no frequencies over."""
        c = x.shape[1]
        squares = F.conv2d(x.square(), self.blur.expand(c, 1, 3, 3), None, 2, 1, groups=c)
        return (squares + 1e-12).sqrt()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        alike = x.new_zeros(len(x))
        alphas, betas = (w.split(CHANNELS) for w in (self.alpha, self.beta))
        for a, b, alpha, beta in zip(
            self.features(x), self.features(y), alphas, betas, strict=True
        ):
            mean_a, mean_b = a.mean((2, 3)), b.mean((2, 3))
            texture = (2 * mean_a * mean_b + SMALL) / (mean_a**2 + mean_b**2 + SMALL)
            a, b = a - mean_a[..., None, None], b - mean_b[..., None, None]
            together, apart = (a * b).mean((2, 3)), (a**2).mean((2, 3)) + (b**2).mean((2, 3))
            structure = (2 * together + SMALL) / (apart + SMALL)
            alike = alike + texture @ alpha + structure @ beta
        return 1 - alike


def from_vgg(weights: Mapping[str, Tensor]) -> DISTS:
    """Return the frozen network with VGG16's weights, under torchvision's names.

    Raises:
        KeyError, RuntimeError: they are not VGG16's.
    """
    net = DISTS()
    named = {
        f"convs.{i}.{kind}": weights[f"features.{place}.{kind}"].float()
        for i, place in enumerate(PLACES)
        for kind in ("weight", "bias")
    }
    net.load_state_dict(named)
    return net.eval().requires_grad_(False)


@cache
def load_dists(folder: Path) -> DISTS:
    """Load the frozen network from a folder with VGG16 in safetensors.

    Raises:
        KeyError, RuntimeError, SafetensorError: it holds something else.
    """
    weights: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        weights |= load_file(file)
    return from_vgg(weights)
