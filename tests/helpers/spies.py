"""What tests look at: the PGD loop's steps, gradients against gradients, a file's own bytes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cloakwork.types import Photos


@dataclass
class Step:
    """What the PGD loop saw in one step: the generator before it, the photos, their gradient."""

    rng: torch.Tensor
    x: Photos
    grads: Photos

    def again(self) -> torch.Generator:
        return torch.Generator().set_state(self.rng)


def relative_error(ours: Photos, theirs: torch.Tensor) -> float:
    """The largest over the photos, of gradients in the l2 norm."""
    return max(((a - b).norm() / b.norm()).item() for a, b in zip(ours, theirs, strict=True))


def pixels_of(path: Path) -> np.ndarray:
    """The RGB bytes of a saved photo, read without the package."""
    return np.asarray(Image.open(path).convert("RGB")).astype(int)
