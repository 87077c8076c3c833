"""LoRA files that are added to a model's weights for good, as whoever steals with one would use it.

diffusers reads the layouts: its own, PEFT's, and kohya's, which web UIs use.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

from cloakwork.errors import UserError
from cloakwork.models.names import SAFETENSORS, Named
from cloakwork.models.pretrained_parts import reading

ADAPTER = "added"
# the smaller matrix of a layer, in all layouts that diffusers makes of a file
DOWN = re.compile(r"(.+)[._](lora_A|lora\.down|lora_linear_layer\.down)\.weight$")
# further layers of relatives of LoRA, which diffusers leaves out, or takes for something else
OTHER = re.compile(r"dora_scale|hada_|lokr_|\.oft_|lora_mid|\.diff(_b)?$")


def add(pipe: Any, named: Named) -> None:
    """Add LoRA files to the weights of a pipeline, in their order.

    Raises:
        UserError: a file is no LoRA, is damaged, or is one of another model.
    """
    from diffusers.utils import logging as diffusers_logging

    for file in named.adapters:
        what = f"The adapter '{file}'"
        with reading(what):
            # it would log what is raised
            diffusers_logging.set_verbosity(logging.CRITICAL)
            _refuse_others(file, what)
            _add(pipe, file, what, named.model)


def _refuse_others(file: Path, what: str) -> None:
    """Refuse what is no LoRA in safetensors."""
    if file.suffix.lower() != SAFETENSORS:
        raise UserError(f"{what} is a file of another kind; a LoRA is a safetensors file.")
    with safe_open(file, "pt") as opened:
        keys = list(opened.keys())
    if other := next((key for key in keys if OTHER.search(key)), None):
        raise UserError(
            f"{what} is of a kind that cannot be used ('{other}'); plain LoRA files can."
        )
    if not any("lora" in key for key in keys):
        raise UserError(f"{what} is no LoRA: none of its {len(keys)} weights is of one.")


def _add(pipe: Any, file: Path, what: str, model: str) -> None:
    """Add one file; all of its layers, or nothing."""
    where = {"weight_name": file.name, "use_safetensors": True, "local_files_only": True}
    config = {"unet_config": pipe.unet.config} if hasattr(pipe, "unet") else {}
    read = pipe.lora_state_dict(str(file.parent), **where, **config)
    layers = _layers(read[0] if isinstance(read, tuple) else read)
    pipe.load_lora_weights(str(file.parent), adapter_name=ADAPTER, **where)
    parts = [part for part in pipe._lora_loadable_modules if getattr(pipe, part, None) is not None]
    taken = sum(_taken(getattr(pipe, part)) for part in parts)
    if not layers or taken != len(layers):
        raise UserError(
            f"{what} has {len(layers)} layers, of which {taken} fit '{model}'; "
            "it is a LoRA of another model."
        )
    pipe.fuse_lora(components=parts)
    pipe.unload_lora_weights()


def _layers(names: Iterable[str]) -> set[str]:
    """Return the names of the layers that a LoRA's weights are of.

    >>> _layers(["unet.to_q.lora.down.weight", "unet.to_q.lora.up.weight", "unet.to_k.alpha"])
    {'unet.to_q'}
    """
    return {match[1] for name in names if (match := DOWN.match(name))}


def _taken(part: nn.Module) -> int:
    """Return how many layers of a part have the adapter."""
    return sum(ADAPTER in getattr(module, "lora_A", ()) for module in part.modules())
