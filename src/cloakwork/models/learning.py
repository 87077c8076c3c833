"""How a model is trained: in a copy, whose weights learn for a while. Methods of `LDM`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import nn

from cloakwork.models.device import copied_to, lent

if TYPE_CHECKING:
    from cloakwork.models.ldm import LDM


def copy(ldm: LDM, *, share_weights: bool = False) -> LDM:
    """Copy the model, so that a method may train it.

    The denoiser and the text encoders that may learn are its own, still frozen; the rest is
    shared.

    Args:
        share_weights: for whoever trains what is added to the model alone: its layers are its
            own, but not their weights.
    """
    own = {"denoiser": ldm.denoiser} | ldm.learning_encoders
    kept = {id(p): p for part in own.values() for p in part.parameters()}
    copies = {k: deepcopy(part, {**kept} if share_weights else {}) for k, part in own.items()}
    if ldm.whole is not None and not share_weights:
        copies["denoiser"] = copied_to(ldm.device, ldm.whole)
    return replace(ldm, **copies, whole=None, _embedded={})


@contextmanager
def trainable(
    ldm: LDM, *, text_encoder: bool = True, only: Callable[[str], bool] | None = None
) -> Iterator[dict[str, nn.Parameter]]:
    """Let the denoiser and text encoders learn inside; yield their parameters by name.

    The VAE always stays frozen.

    Args:
        text_encoder: let the text encoders learn too.
        only: name (such as "unet.conv_in.weight") -> whether that parameter learns; None: all.
    """
    parts = ldm.learners if text_encoder else {ldm.family.DENOISER: ldm.denoiser}
    named = {
        f"{part}.{k}": p for part, module in parts.items() for k, p in module.named_parameters()
    }
    if only is not None:
        named = {name: p for name, p in named.items() if only(name)}
    for p in named.values():
        p.requires_grad_(True)
    # where no text encoder may learn, prompts stay what they were, and nobody reads them anew
    readers = ldm.text_encoders.values() if text_encoder and ldm.learning_encoders else ()
    if ldm.learning_encoders:
        ldm.forget_text()
    try:
        with lent(readers, ldm.device):
            yield named
    finally:
        for p in named.values():
            p.requires_grad_(False)
            p.grad = None
        if ldm.learning_encoders:
            ldm.forget_text()
