"""The device that models run on, and the precision of their arithmetic."""

from __future__ import annotations

import torch

from cloakwork.errors import UserError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TYPES = ("cpu", "cuda", "mps")


def pick_device(device: str = "auto") -> torch.device:
    """Return the device to run on; on cuda, convolutions are deterministic from then on.

    Args:
        device: "cpu", "cuda", "cuda:1", "mps"; "auto" is the first of cuda, mps and cpu that
            is present.

    Raises:
        UserError: the device cannot be used here.

    >>> pick_device("cpu")
    device(type='cpu')
    """
    if device == "auto":
        device = _best()
    try:
        if torch.device(device).type not in TYPES:
            raise RuntimeError(f"no arithmetic on {device}")
        place = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"The device '{device}' cannot be used here; allowed are auto, cpu, cuda, cuda:N "
            "and mps where present."
        ) from error
    if place.type == "cuda":
        # else backward passes add up in any order, and the same seed gives other bytes
        torch.backends.cudnn.deterministic = True
    return place


def refuse_float16(dtype: torch.dtype) -> None:
    """Refuse arithmetic in which gradients of a protection or a training vanish.

    Raises:
        UserError: the dtype is float16.

    >>> refuse_float16(torch.bfloat16)
    """
    if dtype == torch.float16:
        raise UserError(
            "float16 is too coarse for gradients: small ones become 0. "
            "Where gradients are taken, float32 and bfloat16 are allowed."
        )


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
