"""The weights that learn: which they are, how they are set, rounded and written to a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cloakwork.finetuning.adapters import is_lora
from cloakwork.models.ldm import LDM


def weights_of(ldm: LDM) -> dict[str, Tensor]:
    """Return the weights of UNet and text encoder by name, not copied."""
    return {
        f"{part}.{k}": p.detach()
        for part, module in ldm.learners.items()
        for k, p in module.named_parameters()
    }


def learnable(ldm: LDM) -> dict[str, Tensor]:
    """Return those of `weights_of` that a surrogate's training moves: the LoRA layers where there
    are any, else all.
    """
    named = weights_of(ldm)
    return {name: p for name, p in named.items() if is_lora(name)} or named


@torch.no_grad()
def set_weights(ldm: LDM, weights: dict[str, Tensor]) -> None:
    """Write weights back in place, and drop the text embeddings that the old ones made."""
    named = weights_of(ldm)
    for name, value in weights.items():
        named[name].copy_(value)
    ldm.forget_text()


@contextmanager
def temporarily_trained(ldm: LDM) -> Iterator[LDM]:
    """Lend a model for training, and give it its old weights back afterwards.

    The weights are swapped, so there is no second model.
    """
    before = {k: p.clone() for k, p in learnable(ldm).items()}
    try:
        yield ldm
    finally:
        set_weights(ldm, before)


@torch.no_grad()
def round_weights(params: Iterable[Tensor]) -> None:
    """Round weights to what bf16 can hold, as training without fp32 master weights does after every
    step.
    """
    for p in params:
        p.copy_(p.bfloat16().float())


def training_tensors(
    named: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Return what a checkpoint holds: weights and the optimizer's state of each."""
    moments = {
        f"{name} {key}": torch.as_tensor(value)
        for name, p in named.items()
        for key, value in optimizer.state[p].items()
    }
    return {f"{name} weight": p for name, p in named.items()} | moments


@torch.no_grad()
def restore_training(
    named: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, saved: dict[str, Tensor]
) -> None:
    """Put back what `training_tensors` returned."""
    for label, value in saved.items():
        name, _, key = label.rpartition(" ")
        p = named[name]
        if key == "weight":
            p.copy_(value)
        else:  # torch counts steps in a float tensor, bitsandbytes in a plain number
            optimizer.state[p][key] = (
                value.to(p.device) if value.is_floating_point() or value.ndim else int(value)
            )
