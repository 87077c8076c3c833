"""CodeFormer, which draws faces anew, from weights that the user brings.

Zhou et al., arXiv 2206.11253; read through spandrel. Its licence (S-Lab 1.0) is non-commercial, so
that neither code nor weights come with any extra. Untested: written against spandrel-extra-arches
0.2.0, without the weights at hand.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import Unscored, UserError
from cloakwork.models.faces import load_faces

SIDE = 512  # pixels
# faces (n x 3 x 512 x 512 in [0, 1]), fidelity (0 to 1) -> the faces drawn anew
Restore = Callable[[Tensor, float], Tensor]


@cache
def load(path: str) -> Restore:
    """Load the network from a safetensors file.

    Raises:
        UserError: no such file, a pickle file, or the packages that read it are missing.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(
            f"There is no file '{path}'; name CodeFormer's weights, converted to safetensors."
        )
    if file.suffix != ".safetensors":
        raise UserError(
            f"The weights '{path}' are no safetensors. "
            "Pickle files are never loaded; convert them first."
        )
    try:
        import spandrel_extra_arches  # type: ignore[import-not-found]
        from spandrel import ModelLoader  # type: ignore[import-not-found]
    except ImportError:
        raise UserError(
            "CodeFormer needs spandrel: pip install spandrel spandrel-extra-arches "
            "(and torchvision)."
        ) from None
    spandrel_extra_arches.install()
    try:
        net: Any = ModelLoader().load_from_file(file).model.eval()
    except Exception as error:
        raise UserError(
            f"The weights '{path}' could not be read ({type(error).__name__}); "
            "name those of CodeFormer."
        ) from error

    @torch.no_grad()
    def restore(x: Tensor, fidelity: float) -> Tensor:
        net.to(x.device)
        return (net(2 * x - 1, weight=fidelity)[0] / 2 + 0.5).clamp(0, 1)

    return restore


def with_faces_anew(photo: Tensor, weights: str, fidelity: float) -> Tensor:
    """Return a photo (3 x H x W in [0, 1]) with every face restored.

    Where there is none it stays as it is, with a warning.

    Args:
        photo: of any size.
        weights: file, as of `load`.
        fidelity: 0 draws the cleanest face, 1 the likest.

    Raises:
        UserError: there is no detector of faces, or no CodeFormer.
    """
    try:
        faces = load_faces().find(photo)
    except Unscored as error:
        raise UserError(f"CodeFormer needs to know where faces are. {error.reason}") from None
    if not faces:
        warnings.warn("A photo shows no face, so CodeFormer left it as it is.", stacklevel=2)
        return photo
    restore, (height, width) = load(weights), photo.shape[-2:]
    for face in faces:
        left, top, right, bottom = face.box
        side = min(round(2 * max(right - left, bottom - top)), height, width)
        y = min(max(0, round((top + bottom - side) / 2)), height - side)
        x = min(max(0, round((left + right - side) / 2)), width - side)
        here = (slice(None), slice(y, y + side), slice(x, x + side))
        large = F.interpolate(photo[here][None], (SIDE,) * 2, mode="bicubic", antialias=True).clamp(
            0, 1
        )
        new = F.interpolate(restore(large, fidelity), (side, side), mode="bicubic", antialias=True)[
            0
        ].clamp(0, 1)
        inward = torch.minimum(torch.arange(1, side + 1), torch.arange(side, 0, -1)).to(photo)
        edge = inward / (side / 8)
        soft = torch.minimum(edge[:, None], edge).clamp(max=1)
        photo = photo.clone()
        photo[here] += soft * (new - photo[here])
    return photo
