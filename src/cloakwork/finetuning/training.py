"""The training that surrogates and attackers share: DreamBooth's two losses on cached latents.

DreamBooth: Ruiz et al., arXiv 2208.12242. The latents of pictures that do not change are encoded
once. `train_steps` takes a few steps of a surrogate; `finetune` is an attacker's whole training,
with checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from cloakwork.errors import UserError, check_ranges
from cloakwork.finetuning.batches import BatchFn, turn
from cloakwork.finetuning.latent_dataset import LatentDataset
from cloakwork.finetuning.weights import (
    learnable,
    restore_training,
    round_weights,
    training_tensors,
)
from cloakwork.models.counting import alike
from cloakwork.models.ldm import LDM
from cloakwork.photos.tensors import send
from cloakwork.state import RunState
from cloakwork.types import Images

Precision = Literal["float32", "bfloat16"]
SampleFn = Callable[[int], Images]  # pictures for each prompt -> what the attacker would get now
PREVIEW = 4  # pictures for each prompt that are shown along a training


@dataclass(frozen=True)
class Training:
    """How a model is fine-tuned; names and defaults of the DreamBooth trainers."""

    lr: float = 5e-6
    """AdamW learning rate"""
    final_lr: float = 1.0
    """share of the learning rate that is left at the end of its linear decay (`finetune` only)"""
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

    def __post_init__(self) -> None:
        check_ranges(
            self,
            lr=(0, math.inf),
            final_lr=(0, 1),
            batch=(1, math.inf),
            prior_weight=(0, math.inf),
            clip=(0, math.inf),
        )


def train_steps(
    ldm: LDM,
    subject: LatentDataset,
    prior: LatentDataset | None,
    training: Training,
    steps: int,
    rng: torch.Generator,
    *,
    first: int = 0,
    prior_first: int = 0,
) -> None:
    """Take AdamW steps of L(subject) + prior_weight L(prior) on the model itself, with a new
    optimizer.

    Of a model with LoRA layers only these learn.

    Args:
        ldm: the model.
        subject: pictures of the subject.
        prior: pictures of its class, if any are learned.
        training: how the weights learn.
        steps: how many.
        rng: for timesteps and noise.
        first, prior_first: number of the first batch of each; pictures are taken in turn, so that
            successive calls go round all of them.
    """
    only = learnable(ldm).__contains__
    with (
        ldm.trainable(text_encoder=training.text_encoder, only=only) as named,
        _checkpointing(ldm, training),
    ):
        params = list(named.values())
        optimizer = adamw(params, training)
        for step in alike(range(steps)):
            z = _batch(subject, training, first + step)
            loss = _dreambooth_error(
                ldm,
                z,
                subject.prompt,
                prior,
                training,
                prior_first + step,
                rng,
                together=training.batch,
            )
            _descend(loss, params, optimizer, training)


def _batch(data: LatentDataset, training: Training, step: int) -> list[Tensor]:
    """Return the latents of the pictures that a step learns, in turn."""
    return [data.latents[i] for i in turn(step, training.batch, len(data.latents))]


def _dreambooth_error(
    ldm: LDM,
    z: list[Tensor],
    prompt: str,
    prior: LatentDataset | None,
    training: Training,
    prior_step: int,
    rng: torch.Generator,
    together: int | None = None,
) -> Tensor:
    """Return L(z) + prior_weight L(prior), a scalar; class pictures are those of the prior's step
    `prior_step`. The other arguments are as in `weighted_error`.
    """
    prompts, weights = [prompt] * len(z), [1 / len(z)] * len(z)
    if prior is not None:
        z = z + _batch(prior, training, prior_step)
        prompts += [prior.prompt] * training.batch
        weights += [training.prior_weight / training.batch] * training.batch
    return weighted_error(ldm, z, prompts, weights, rng, together)


def adamw(params: list[nn.Parameter], training: Training) -> torch.optim.Optimizer:
    """Make the optimizer of every training here.

    Raises:
        UserError: 8 bits were asked for, without the package that has them.
    """
    if not training.adam8bit:
        return torch.optim.AdamW(params, lr=training.lr, weight_decay=1e-2, fused=True)
    try:
        from bitsandbytes.optim import AdamW8bit  # type: ignore[import-not-found]
    except ImportError:
        raise UserError(
            "8-bit Adam needs the package bitsandbytes, which is not installed; install it or "
            "leave adam8bit off."
        ) from None
    return AdamW8bit(params, lr=training.lr, weight_decay=1e-2)


def _descend(
    loss: Tensor, params: list[nn.Parameter], optimizer: torch.optim.Optimizer, training: Training
) -> None:
    """Take one step of the optimizer."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    if training.clip:
        nn.utils.clip_grad_norm_(params, training.clip)
    optimizer.step()
    if training.weights == "bfloat16":
        round_weights(params)


@contextmanager
def _checkpointing(ldm: LDM, training: Training) -> Iterator[None]:
    if not (training.gradient_checkpointing or ldm.low_memory):
        yield
        return
    ldm.denoiser.enable_gradient_checkpointing()
    try:
        yield
    finally:
        ldm.denoiser.disable_gradient_checkpointing()


def finetune(
    ldm: LDM,
    batches: BatchFn,
    prompt: str,
    prior: LatentDataset | None,
    training: Training,
    steps: int,
    rng: torch.Generator,
    state: RunState,
    draw: SampleFn,
    *,
    only: Callable[[str], bool] | None = None,
    apart: Collection[int] = (),
) -> None:
    """Train a model on an attacker's photos, in place: `steps` AdamW steps of L(batch) +
    prior_weight L(prior), with one optimizer throughout.

    Args:
        ldm: the model.
        batches: the latents that a step learns.
        prompt: the words under them.
        prior: class pictures, if any are learned.
        training: how the weights learn.
        steps: of the whole training.
        rng: for timesteps and noise.
        state: the training goes on from its checkpoint, to the same bytes.
        draw: pictures by the model as it is, which `state` shows along the way.
        only: says by name which of the weights learn.
        apart: steps at which `batches` does more than at others (see `counting.alike`).

    Raises:
        NotFinite: the loss is not finite.
    """
    with (
        ldm.trainable(text_encoder=training.text_encoder, only=only) as named,
        _checkpointing(ldm, training),
    ):
        params = list(named.values())
        optimizer = adamw(params, training)
        done, saved = state.resume(rng)
        restore_training(named, optimizer, saved)
        for step in alike(range(done, steps), kind=lambda step: step if step in apart else None):
            loss = _dreambooth_error(ldm, batches(step), prompt, prior, training, step, rng)
            for group in optimizer.param_groups:
                group["lr"] = training.lr * (1 + (training.final_lr - 1) * step / steps)
            _descend(loss, params, optimizer, training)
            state.record(
                loss,
                torch.isfinite(loss),
                torch.ones_like(loss),
                f"The loss is not finite at step {step + 1}; try a smaller lr or --dtype float32.",
            )
            state.preview(step + 1, lambda: draw(PREVIEW))
            state.checkpoint(step + 1, steps, rng, lambda: training_tensors(named, optimizer))


def weighted_error(
    ldm: LDM,
    latents: list[Tensor],
    prompts: list[str],
    weights: list[float],
    rng: torch.Generator,
    together: int | None = None,
) -> Tensor:
    """Return the sum of weight times denoising error, a scalar.

    Latents, prompts and weights are parallel lists. Latents of one shape go through the UNet
    together.

    Args:
        ldm: the model.
        latents: each c x h x w.
        prompts: the words under each of them.
        weights: of their errors.
        rng: for timesteps and noise.
        together: so many latents draw their timesteps, and then their noise, before the next do
            (None: all of one shape).
    """
    texts = list(dict.fromkeys(prompts))
    embedded = ldm.embed(texts)
    total = torch.zeros((), device=ldm.device)
    for shape in dict.fromkeys(z.shape for z in latents):
        which = [i for i, z in enumerate(latents) if z.shape == shape]
        z = torch.stack([latents[i] for i in which])
        parts = z.split(together or len(z))
        draws = [(ldm.timesteps(len(part), rng), ldm.noise(part.shape, rng)) for part in parts]
        t, noise = (torch.cat(drawn) for drawn in zip(*draws, strict=True))
        z_t, target = ldm.diffuse(z, noise, t)
        c = embedded[[texts.index(prompts[i]) for i in which]]
        off = ldm.weigh(ldm.predict(z_t, t, c) - target, t)
        errors = off.square().flatten(1).mean(1)
        shares = send(torch.tensor([weights[i] for i in which]), ldm.device)
        total = total + (errors * shares).sum()
    return total
