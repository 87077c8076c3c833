"""Where models run, and in what precision."""

from __future__ import annotations

import torch

from cloakwork.errors import UserError


def pick_device(device: str = "auto") -> torch.device:
    """cuda, mps or cpu, in this order, unless the user names one; on cuda convolutions are
    deterministic from then on.
    """
    if device == "auto":
        device = (
            "cuda"
            if torch.cuda.is_available()
            else "mps"
            if torch.backends.mps.is_available()
            else "cpu"
        )
    try:
        place = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(
            f"The device '{device}' cannot be used here; allowed are auto, cpu, cuda, cuda:N and mps where present."
        ) from error
    if (
        place.type == "cuda"
    ):  # else their backward passes add up in any order, and the same seed gives other bytes
        torch.backends.cudnn.deterministic = True
    return place


DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def quiet() -> None:
    """No progress bars for files that are here, and no advice about the optional torchvision."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for logging in (diffusers_logging, transformers_logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
