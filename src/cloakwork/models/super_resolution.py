"""A small network that enlarges pictures four times about as Real-ESRGAN does, with a gradient.

Real-ESRGAN as the package has it (`models.upscalers`) gives pictures and no gradients. A protector
who wants to look through it needs a network that was trained to give what it gives
(`training/super_resolution.py`): the purifier `codesr` takes this one for its differentiable form,
and its VERSION is raised where the weights change, since results are kept by it.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from cloakwork.files import ASSETS
from cloakwork.files.tensors import save_tensors

FACTOR = 4
WIDTH, BLOCKS = 32, 8
EMBEDDED = ASSETS / "super_resolution" / "model.safetensors"


class Enlarger(nn.Module):
    """Pictures -> the same four times as large; n x 3 x h x w in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, WIDTH, 3, padding=1)
        self.blocks = nn.ModuleList(_Block() for _ in range(BLOCKS))
        self.last = nn.Conv2d(WIDTH, 3 * FACTOR**2, 3, padding=1)
        nn.init.zeros_(self.last.weight)  # it begins as an interpolation

    def forward(self, x: Tensor) -> Tensor:
        """Return n x 3 x 4h x 4w, not cut to the pixels' range."""
        h = self.first(2 * x - 1)
        for block in self.blocks:
            h = block(h)
        plain = F.interpolate(x, scale_factor=float(FACTOR), mode="bicubic")
        return plain + F.pixel_shuffle(self.last(h), FACTOR)


class _Block(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.two = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(F.silu(self.one(x)))


def save(net: Enlarger) -> None:
    """Write the weights into the package, in half precision."""
    EMBEDDED.parent.mkdir(exist_ok=True)
    save_tensors(EMBEDDED, {k: v.half() for k, v in net.state_dict().items()})


@cache
def load(device: torch.device) -> Enlarger:
    """Load the package's network, frozen."""
    net = Enlarger()
    net.load_state_dict({k: v.float() for k, v in load_file(EMBEDDED).items()})
    return net.eval().requires_grad_(False).to(device)
