"""CodeFormer, which draws faces anew, from weights that the user brings.

Zhou et al., arXiv 2206.11253; read through spandrel. Its licence (S-Lab 1.0) is non-commercial, so
that neither code nor weights come with any extra. Untested: written against spandrel-extra-arches
0.2.0, without the weights at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cloakwork.errors import UserError

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
