"""A small network that sees what a tool adds to photos: how much of it, and whether it did.

An image-to-image U-Net estimates the perturbation, as LightShed's autoencoder does (USENIX Security
2025); from its deepest features one number says whether there is any. `workflows.train_purifier`
trains it.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from cloakwork.errors import UserError
from cloakwork.files import ASSETS
from cloakwork.files.tensors import save_tensors
from cloakwork.photos import tiling

WIDTHS = (16, 32, 64, 96)  # each level but the first at half the size of the one before
UNIT = 2 ** (len(WIDTHS) - 1)  # pixels that sides are multiples of
WEIGHTS = "model.safetensors"
TILE, STEP = 512, 448  # pixels; what is seen at once of a larger photo
# the package's own, by what `weights` of the purifier `learned` calls them: against `pid`, and
# against the default
EMBEDDED = {"": ASSETS / "purifier", "lasting": ASSETS / "purifier_lasting"}


class Cleaner(nn.Module):
    """Pictures -> their estimated perturbation, and how sure it is that there is one.

    Pictures are n x 3 x H x W in [0, 1], H and W multiples of `UNIT`.

    Args:
        rng: draws its first weights; None: those of a seed.
    """

    def __init__(self, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, WIDTHS[0], 3, padding=1)
        self.down = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(WIDTHS)
        )
        self.coming = nn.ModuleList(_Block(width) for width in WIDTHS)
        self.up = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in pairwise(WIDTHS))
        self.going = nn.ModuleList(_Block(width) for width in WIDTHS[:-1])
        self.last = nn.Conv2d(WIDTHS[0], 3, 3, padding=1)
        self.told = nn.Linear(2 * WIDTHS[-1], 1)
        rng = rng or torch.Generator()
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_uniform_(module.weight, a=5**0.5, generator=rng)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.zeros_(self.last.weight)  # it begins by leaving photos alone

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the perturbation, like x, and n logits: more than 0 says that there is one."""
        h, levels = self.coming[0](self.first(2 * x - 1)), []
        for down, block in zip(self.down, self.coming[1:], strict=True):
            levels.append(h)
            h = block(down(h))
        told = self.told(torch.cat([h.mean((2, 3)), h.std((2, 3))], 1))[:, 0]
        for level, up, block in zip(
            levels[::-1], [*self.up][::-1], [*self.going][::-1], strict=True
        ):
            h = block(level + up(F.interpolate(h, scale_factor=2.0)))
        return self.last(h), told


class _Block(nn.Module):
    """Two convolutions beside the identity."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.one = nn.Conv2d(width, width, 3, padding=1)
        self.two = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(F.silu(self.one(F.silu(self.norm(x)))))


def save(net: Cleaner, folder: Path) -> None:
    """Write the network's weights into a folder, in half precision."""
    save_tensors(folder / WEIGHTS, {k: v.half() for k, v in net.state_dict().items()})
    load.cache_clear()  # the folder may have held another


@cache
def load(folder: Path, device: torch.device) -> Cleaner:
    """Load a frozen network from the folder that `train_purifier` wrote.

    Raises:
        UserError: there is none, or it is damaged.
    """
    file = folder / WEIGHTS
    if not file.is_file():
        raise UserError(
            f"There is no {WEIGHTS} in {folder}; name a folder that `cloakwork train-purifier` "
            "wrote."
        )
    net = Cleaner()
    try:
        net.load_state_dict({k: v.float() for k, v in load_file(file).items()})
    except Exception as error:  # damaged files make the libraries raise nearly anything
        raise UserError(
            f"{file} holds no network of `cloakwork train-purifier` ({type(error).__name__}); "
            "train it again."
        ) from error
    return net.eval().requires_grad_(False).to(device)


@torch.no_grad()
def look(net: Cleaner, photo: Tensor) -> tuple[Tensor, float]:
    """Look at a photo of any size (3 x H x W in [0, 1]).

    Returns:
        The estimated perturbation, 3 x H x W, and the mean logit that there is one.
    """
    height, width = photo.shape[-2:]
    x = F.pad(photo[None], (0, -width % UNIT, 0, -height % UNIT), mode="replicate")
    if max(x.shape[-2:]) <= TILE:
        found, told = net(x)
        return found[0, :, :height, :width], told.item()
    high, wide = x.shape[-2:]
    side = min(TILE, high, wide)
    at = tiling.places(high, wide, side, min(STEP, side))
    pairs = [net(tile[None]) for tile in tiling.cut(x[0], at, side)]
    whole = tiling.join(torch.cat([found for found, _ in pairs]), at, high, wide)
    return whole[:, :height, :width], torch.cat([told for _, told in pairs]).mean().item()
