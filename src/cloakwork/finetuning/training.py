"""The training that surrogates and thieves share: DreamBooth's two losses on cached latents.

DreamBooth: Ruiz et al., arXiv 2208.12242. The latents of pictures that do not change are encoded
once. `learn` takes a few steps of a surrogate; `train` is a thief's whole training, with
checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cloakwork.errors import UserError
from cloakwork.finetuning.batches import BatchFn, turn
from cloakwork.finetuning.latent_dataset import LatentDataset
from cloakwork.finetuning.weights import (
    learnable,
    restore_training,
    round_weights,
    training_tensors,
)
from cloakwork.models.ldm import LDM
from cloakwork.state import RunState
from cloakwork.types import Images

Precision = Literal["float32", "bfloat16"]
SampleFn = Callable[[int], Images]  # pictures for each prompt -> what the thief would get now
PREVIEW = 4  # pictures for each prompt that are kept along a training


@dataclass(frozen=True)
class Training:
    """How a model is fine-tuned; names and defaults of the DreamBooth trainers."""

    lr: float = 5e-6
    """AdamW learning rate"""
    final_lr: float = 1.0
    """share of the learning rate that is left at the end of its linear decay (`train` only)"""
    batch: int = 1
    """instance pictures a step (as many class pictures again)"""
    prior_weight: float = 1.0
    """weight of the loss on class pictures"""
    text_encoder: bool = True
    """train the text encoder too"""
    weights: Precision = "float32"
    """precision the weights are kept in between steps"""
    gradient_checkpointing: bool = False
    """compute the UNet's activations twice rather than keep them: less memory, more time, the same
    bytes"""
    adam8bit: bool = False
    """keep the optimizer's moments in 8 bits (package bitsandbytes)"""
    clip: float = 1.0
    """largest norm of the gradient by all weights (0: any)"""


def train_steps(
    ldm: LDM,
    subject: LatentDataset,
    kind: LatentDataset | None,
    how: Training,
    steps: int,
    rng: torch.Generator,
    *,
    first: int = 0,
    kind_first: int = 0,
) -> None:
    """`steps` AdamW steps of L(subject) + prior_weight L(kind) on the model itself, with a new
    optimizer.

    Pictures are taken in turn, beginning with number `first` (class pictures: `kind_first`), so
    that successive calls go round all of them. Of a model with LoRA layers only these learn.
    """
    with (
        ldm.trainable(text_encoder=how.text_encoder, only=learnable(ldm).__contains__) as named,
        _checkpointing(ldm, how),
    ):
        params = list(named.values())
        optimizer = adamw(params, how)
        for step in range(steps):
            loss = _error(ldm, subject, how.batch, first + step, rng)
            if kind is not None:
                loss = loss + how.prior_weight * _error(
                    ldm, kind, how.batch, kind_first + step, rng
                )
            _descend(loss, params, optimizer, how)


def _error(ldm: LDM, what: LatentDataset, batch: int, step: int, rng: torch.Generator) -> Tensor:
    return ldm.latent_loss(
        what.latents[turn(step, batch, len(what.latents))], ldm.embed([what.prompt]), rng
    )


def adamw(params: list[nn.Parameter], how: Training) -> torch.optim.Optimizer:
    """The optimizer of every training here.

    Raises:
        UserError: 8 bits were asked for, without the package that has them.
    """
    if not how.adam8bit:
        return torch.optim.AdamW(params, lr=how.lr, weight_decay=1e-2, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found]
    except ImportError:
        raise UserError(
            "8-bit Adam needs the package bitsandbytes, which is not installed; install it or leave adam8bit off."
        ) from None
    return AdamW8bit(params, lr=how.lr, weight_decay=1e-2)


def _descend(
    loss: Tensor, params: list[nn.Parameter], optimizer: torch.optim.Optimizer, how: Training
) -> None:
    """One step of the optimizer."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if how.clip:
        nn.utils.clip_grad_norm_(params, how.clip)
    optimizer.step()
    if how.weights == "bfloat16":
        round_weights(params)


@contextmanager
def _checkpointing(ldm: LDM, how: Training) -> Iterator[None]:
    if not how.gradient_checkpointing:
        yield
        return
    ldm.unet.enable_gradient_checkpointing()
    try:
        yield
    finally:
        ldm.unet.disable_gradient_checkpointing()


def finetune(
    ldm: LDM,
    feed: BatchFn,
    prompt: str,
    kind: LatentDataset | None,
    how: Training,
    steps: int,
    rng: torch.Generator,
    state: RunState,
    draw: SampleFn,
    *,
    only: Callable[[str], bool] | None = None,
) -> None:
    """A thief's training, on the model itself: `steps` AdamW steps of L(what `feed` gives) +
    prior_weight L(kind), one optimizer.

    Goes on from the checkpoint of `state`, to the same bytes; shows it pictures that `draw` makes
    along the way. `only` says by name which of the weights learn.

    Raises:
        UserError: the loss is not finite.
    """
    with ldm.trainable(text_encoder=how.text_encoder, only=only) as named, _checkpointing(ldm, how):
        params = list(named.values())
        optimizer = adamw(params, how)
        done, saved = state.resume(rng)
        restore_training(named, optimizer, saved)
        for step in range(done, steps):
            z = feed(step)
            prompts, weights = [prompt] * len(z), [1 / len(z)] * len(z)
            if kind is not None:
                z = z + list(kind.latents[turn(step, how.batch, len(kind.latents))])
                prompts, weights = (
                    prompts + [kind.prompt] * how.batch,
                    weights + [how.prior_weight / how.batch] * how.batch,
                )
            loss = weighted_error(ldm, z, prompts, weights, rng)
            for group in optimizer.param_groups:
                group["lr"] = how.lr * (1 + (how.final_lr - 1) * step / steps)
            _descend(loss, params, optimizer, how)
            state.trace.append(loss.item())
            if not math.isfinite(state.trace[-1]):
                raise UserError(
                    f"The loss is not finite at step {step + 1}; try a smaller lr or --dtype float32."
                )
            state.preview(step + 1, lambda: draw(PREVIEW))
            state.checkpoint(step + 1, steps, rng, lambda: training_tensors(named, optimizer))


def weighted_error(
    ldm: LDM, latents: list[Tensor], prompts: list[str], weights: list[float], rng: torch.Generator
) -> Tensor:
    """Sum of weight times denoising error; latents (each c x h x w) of one shape go through the
    UNet together.
    """
    texts = list(dict.fromkeys(prompts))
    embedded = ldm.embed(texts)
    total = torch.zeros((), device=ldm.device)
    for shape in dict.fromkeys(z.shape for z in latents):
        which = [i for i, z in enumerate(latents) if z.shape == shape]
        z = torch.stack([latents[i] for i in which])
        t, noise = ldm.timesteps(len(z), rng), ldm.noise(z.shape, rng)
        z_t, target = ldm.diffuse(z, noise, t)
        errors = (
            (ldm.predict(z_t, t, embedded[[texts.index(prompts[i]) for i in which]]) - target)
            .square()
            .flatten(1)
            .mean(1)
        )
        total = (
            total + (errors * torch.tensor([weights[i] for i in which], device=ldm.device)).sum()
        )
    return total
