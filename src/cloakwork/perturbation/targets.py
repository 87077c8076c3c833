"""What a targeted protection draws photos to: a built-in picture, or a file.

In a Config, the field is called `target` and holds one of BUILT_IN or the path of an image.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.models.encoder import Encoder
from cloakwork.photos.photo import Photo, load_photo
from cloakwork.photos.preprocessing import preprocess
from cloakwork.photos.tensors import as_float, send
from cloakwork.types import Images

BUILT_IN = ("zero", "grey", "pattern")


def digest(config: Any) -> str:
    """Return the hash of a Config's `target`, since a file may change under its name; empty for a
    built-in one or none.
    """
    target = getattr(config, "target", "")
    return "" if target in ("", *BUILT_IN) else _load(target).digest


def picture(target: str, size: int) -> Images:
    """Return a target's picture, 1 x 3 x size x size in [0, 1].

    A file of another size or shape is cut to its centre square and resized.

    >>> picture("grey", 64).unique()
    tensor([0.5000])

    Raises:
        UserError: no such target, or an image that cannot be read.
    """
    if target == "pattern":
        return pattern(size)
    if target == "grey":
        return torch.full((1, 3, size, size), 0.5)
    if target == "zero":
        raise ValueError("'zero' is a latent and has no picture.")
    return preprocess([as_float(_load(target).pixels)], size)


@torch.no_grad()
def latent(ldm: Encoder, target: str) -> Tensor:
    """Return the target's latent, 1 x c x h x w, scaled; "zero" is the latent of nothing.

    Raises:
        UserError: no such target, or an image that cannot be read.
    """
    seen = send(picture("grey" if target == "zero" else target, ldm.size), ldm.device)
    z = ldm.encode(seen, torch.Generator().manual_seed(0))
    return torch.zeros_like(z) if target == "zero" else z


def pattern(size: int) -> Images:
    """Draw black and white waves that no photo shows: rings times a fine chequer.

    >>> pattern(64).shape
    torch.Size([1, 3, 64, 64])

    High contrast at several scales, which is what made the published pattern of Mist (arXiv
    2305.12683) a good target.
    """
    y, x = torch.meshgrid(*2 * [(torch.arange(size) + 0.5) / size], indexing="ij")
    rings = torch.sin(2 * math.pi * 6 * ((x - 0.5).square() + (y - 0.5).square()).sqrt())
    chequer = torch.sin(2 * math.pi * 8 * x) * torch.sin(2 * math.pi * 8 * y)
    return ((rings * chequer).sign() / 2 + 0.5).expand(1, 3, size, size).clone()


def _load(target: str) -> Photo:
    path = Path(target).expanduser()
    if not path.is_file():
        raise UserError(
            f"There is no target '{target}'; give {', '.join(BUILT_IN)} or the path of an image."
        )
    return load_photo(path)
