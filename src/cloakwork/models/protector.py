"""A network that looks at a photo once and says how to perturb it: a bank of patterns, mixed.

The bank's idea is FastProtect's (arXiv 2412.11423): a few perturbations are learned beforehand and
chosen per photo. Here the choice is a mixture that differs from place to place, so that nothing is
decided for a photo as a whole, and the patterns are tiles, so that photos may have any size.
`training/protector.py` trains it.
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
from cloakwork.files import ASSETS, hash_files, save_tensors

PATTERNS, TILE = 16, 128  # in the bank; their side, pixels
WIDTHS = (24, 48, 72, 96)  # of the mixer's levels, each at half the size of the one before
GAIN = 20.0  # of the bank's numbers, so that one rate suits them and the mixer's weights
WEIGHTS = "model.safetensors"
EMBEDDED = ASSETS / "protector"


class Protector(nn.Module):
    """Photos -> perturbations in shares of the budget.

    Args:
        rng: draws its first weights; None: those of a seed.
    """

    def __init__(self, rng: torch.Generator | None = None) -> None:
        super().__init__()
        rng = rng or torch.Generator()
        self.bank = nn.Parameter(0.02 * torch.randn(PATTERNS, 3, TILE, TILE, generator=rng))
        self.levels = nn.ModuleList(
            nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise((3, *WIDTHS))
        )
        self.whole = nn.Linear(2 * WIDTHS[-1], WIDTHS[-1])
        self.last = nn.Conv2d(WIDTHS[-1], PATTERNS, 1)
        for name, weight in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_uniform_(weight, a=5**0.5, generator=rng)
            elif name.endswith("bias"):
                nn.init.zeros_(weight)
        with torch.no_grad():
            self.get_parameter("last.bias")[0] = 1  # it begins with one pattern everywhere

    def mixture(self, x: Tensor) -> Tensor:
        """Return how much of each pattern there is in each place.

        Args:
            x: n x 3 x H x W in [0, 1].

        Returns:
            n x PATTERNS x H/16 x W/16, rounded up.
        """
        h = 2 * x - 1
        for level in self.levels:
            h = F.silu(level(h))
        seen = torch.cat([h.mean((2, 3)), h.std((2, 3), correction=0)], 1)
        return self.last(h + self.whole(seen)[..., None, None])

    def forward(self, x: Tensor, places: list[tuple[int, int]]) -> Tensor:
        """Return perturbations like x, within -1 and 1.

        Args:
            x: n x 3 x H x W in [0, 1].
            places: where each photo's tiling begins, rows and columns.
        """
        height, width = x.shape[-2:]
        mixture = F.interpolate(self.mixture(x), (height, width), mode="bilinear")
        found = []
        for shares, place in zip(mixture, places, strict=True):
            # one pattern after the other: all of them at once would take PATTERNS photos of memory
            mixed = torch.zeros_like(x[0])
            for share, pattern in zip(shares, self.bank, strict=True):
                mixed = mixed + share * tiled(pattern, height, width, place)
            found.append(torch.tanh(GAIN * mixed))
        return torch.stack(found)


def tiled(pattern: Tensor, height: int, width: int, place: tuple[int, int]) -> Tensor:
    """Return a tile repeated over a picture.

    Args:
        pattern: 3 x S x S.
        height, width: of the picture.
        place: row and column of the tile at which the picture's corner lies.

    >>> tiled(torch.arange(3.0).view(1, 1, 3), 2, 5, (0, 1))[0].tolist()
    [[1.0, 2.0, 0.0, 1.0, 2.0], [1.0, 2.0, 0.0, 1.0, 2.0]]
    """
    rows, columns = (
        (torch.arange(n, device=pattern.device) + first) % side
        for n, first, side in zip((height, width), place, pattern.shape[-2:], strict=True)
    )
    return pattern[:, rows][:, :, columns]


def save(net: Protector, folder: Path) -> None:
    """Write a network's weights in bf16."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = {k: v.detach().bfloat16().contiguous() for k, v in net.state_dict().items()}
    save_tensors(folder / WEIGHTS, halves)


@cache
def load(folder: Path, device: torch.device) -> Protector:
    """Load a network in float32.

    Raises:
        UserError: no such network in the folder.
    """
    path = folder / WEIGHTS
    net = Protector()
    try:
        net.load_state_dict({k: v.float() for k, v in load_file(path).items()})
    except Exception as error:
        raise UserError(
            f"There is no protector in {folder} ({error}). Give a folder that "
            "training/protector.py wrote, or leave the setting out."
        ) from None
    return net.to(device).eval().requires_grad_(False)


def identity(folder: Path) -> str:
    """Return the hash of a network's weights, for keys."""
    return hash_files([folder / WEIGHTS])
