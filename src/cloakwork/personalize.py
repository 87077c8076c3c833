"""The training that surrogates and thieves share: DreamBooth's two losses on cached latents.

DreamBooth: Ruiz et al., arXiv 2208.12242. The latents of pictures that do not change are encoded once. `learn` takes a few
steps of a surrogate; `train` is a thief's whole training, with checkpoints.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cloakwork.errors import UserError
from cloakwork.files import cache_folder, write_tensors
from cloakwork.models.ldm import LDM
from cloakwork.state import Progress, State
from cloakwork.types import Images

Precision = Literal["float32", "bfloat16"]
Feed = Callable[[int], list[Tensor]]  # a step's number -> the latents (each c x h x w) that are learned in it
Draw = Callable[[int], Images]  # pictures for each prompt -> what the thief would get now
PREVIEW = 4  # pictures for each prompt that are kept along a training


@dataclass(frozen=True)
class Lesson:
    """Pictures that a model learns from, as latents, and the words that go with them."""

    latents: Tensor
    """n x c x h x w, scaled"""
    prompt: str


@torch.no_grad()
def lesson(ldm: LDM, pictures: Images, prompt: str) -> Lesson:
    """Encodes pictures (n x 3 x S x S) to the posterior's mean, eight at a time."""
    ldm = replace(ldm, sample_posterior=False)
    return Lesson(torch.cat([ldm.encode(part.to(ldm.device)) for part in pictures.split(8)]), prompt)


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
    """compute the UNet's activations twice rather than keep them: less memory, more time, the same bytes"""
    adam8bit: bool = False
    """keep the optimizer's moments in 8 bits (package bitsandbytes)"""
    clip: float = 1.0
    """largest norm of the gradient by all weights (0: any)"""


def learn(
    ldm: LDM,
    subject: Lesson,
    kind: Lesson | None,
    how: Training,
    steps: int,
    rng: torch.Generator,
    *,
    first: int = 0,
    kind_first: int = 0,
) -> None:
    """`steps` AdamW steps of L(subject) + prior_weight L(kind) on the model itself, with a new optimizer.

    Pictures are taken in turn, beginning with number `first` (class pictures: `kind_first`), so that successive calls go
    round all of them. Of a model with LoRA layers only these learn.
    """
    with ldm.trainable(text_encoder=how.text_encoder, only=learnable(ldm).__contains__) as named, _checkpointing(ldm, how):
        params = list(named.values())
        optimizer = adamw(params, how)
        for step in range(steps):
            loss = _error(ldm, subject, how.batch, first + step, rng)
            if kind is not None:
                loss = loss + how.prior_weight * _error(ldm, kind, how.batch, kind_first + step, rng)
            _descend(loss, params, optimizer, how)


def _error(ldm: LDM, what: Lesson, batch: int, step: int, rng: torch.Generator) -> Tensor:
    return ldm.latent_loss(what.latents[turn(step, batch, len(what.latents))], ldm.embed([what.prompt]), rng)


def turn(step: int, batch: int, n: int) -> list[int]:
    """Which of n pictures a step takes: one after the other, round and round."""
    return [(step * batch + i) % n for i in range(batch)]


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


def _descend(loss: Tensor, params: list[nn.Parameter], optimizer: torch.optim.Optimizer, how: Training) -> None:
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


def train(
    ldm: LDM,
    feed: Feed,
    prompt: str,
    kind: Lesson | None,
    how: Training,
    steps: int,
    rng: torch.Generator,
    state: State,
    draw: Draw,
    *,
    only: Callable[[str], bool] | None = None,
) -> None:
    """A thief's training, on the model itself: `steps` AdamW steps of L(what `feed` gives) + prior_weight L(kind), one optimizer.

    Goes on from the checkpoint of `state`, to the same bytes; shows it pictures that `draw` makes along the way. `only` says by
    name which of the weights learn.

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
                prompts, weights = prompts + [kind.prompt] * how.batch, weights + [how.prior_weight / how.batch] * how.batch
            loss = weighted_error(ldm, z, prompts, weights, rng)
            for group in optimizer.param_groups:
                group["lr"] = how.lr * (1 + (how.final_lr - 1) * step / steps)
            _descend(loss, params, optimizer, how)
            state.trace.append(loss.item())
            if not math.isfinite(state.trace[-1]):
                raise UserError(f"The loss is not finite at step {step + 1}; try a smaller lr or --dtype float32.")
            state.show(step + 1, lambda: draw(PREVIEW), PREVIEW)
            state.keep(step + 1, steps, rng, lambda: training_tensors(named, optimizer))


def weighted_error(ldm: LDM, latents: list[Tensor], prompts: list[str], weights: list[float], rng: torch.Generator) -> Tensor:
    """Sum of weight times denoising error; latents (each c x h x w) of one shape go through the UNet together."""
    texts = list(dict.fromkeys(prompts))
    embedded = ldm.embed(texts)
    total = torch.zeros((), device=ldm.device)
    for shape in dict.fromkeys(z.shape for z in latents):
        which = [i for i, z in enumerate(latents) if z.shape == shape]
        z = torch.stack([latents[i] for i in which])
        t, noise = ldm.timesteps(len(z), rng), ldm.noise(z.shape, rng)
        z_t, target = ldm.diffuse(z, noise, t)
        errors = (ldm.predict(z_t, t, embedded[[texts.index(prompts[i]) for i in which]]) - target).square().flatten(1).mean(1)
        total = total + (errors * torch.tensor([weights[i] for i in which], device=ldm.device)).sum()
    return total


def training_tensors(named: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What a checkpoint holds: weights and the optimizer's state of each."""
    moments = {f"{name} {key}": torch.as_tensor(value) for name, p in named.items() for key, value in optimizer.state[p].items()}
    return {f"{name} weight": p for name, p in named.items()} | moments


@torch.no_grad()
def restore_training(named: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, saved: dict[str, Tensor]) -> None:
    """Puts back what `training_tensors` gave."""
    for label, value in saved.items():
        name, _, key = label.rpartition(" ")
        p = named[name]
        if key == "weight":
            p.copy_(value)
        else:  # torch counts steps in a float tensor, bitsandbytes in a plain number
            optimizer.state[p][key] = value.to(p.device) if value.is_floating_point() or value.ndim else int(value)


@torch.no_grad()
def round_weights(params: Iterable[Tensor]) -> None:
    """Rounds weights to what bf16 can hold, as training without fp32 master weights does after every step."""
    for p in params:
        p.copy_(p.bfloat16().float())


def weights_of(ldm: LDM) -> dict[str, Tensor]:
    """UNet and text encoder weights by name (not copied)."""
    return {f"{part}.{k}": p.detach() for part in ("unet", "text_encoder") for k, p in getattr(ldm, part).named_parameters()}


def learnable(ldm: LDM) -> dict[str, Tensor]:
    """Those of `weights_of` that a surrogate's training moves: the LoRA layers where there are some, else all."""
    named = weights_of(ldm)
    return {name: p for name, p in named.items() if ".lora_" in name} or named


@torch.no_grad()
def set_weights(ldm: LDM, weights: dict[str, Tensor]) -> None:
    """Writes weights back in place and drops text embeddings that the old ones made."""
    named = weights_of(ldm)
    for name, value in weights.items():
        named[name].copy_(value)
    ldm.forget_text()


@contextmanager
def borrowed(ldm: LDM) -> Iterator[LDM]:
    """Inside, the model may be trained; afterwards it has its old weights again. Two swapped sets, no second model."""
    before = {k: p.clone() for k, p in learnable(ldm).items()}
    try:
        yield ldm
    finally:
        set_weights(ldm, before)


def class_pictures(
    ldm: LDM, prompt: str, n: int, *, guidance: float = 7.5, steps: int = 25, progress: Progress | None = None
) -> Images:
    """n pictures of the subject's class, drawn by the model itself for prior preservation; n x 3 x S x S in [0, 1].

    Kept in the cache folder, eight by eight, under the hash of all that decides them, so that several people share them.
    """
    where = f"{ldm.device.type} {torch.__version__} {torch.get_num_threads()}"
    what = f"class 2 {ldm.weights} {ldm.dtype} {prompt!r} {guidance} {steps} {where}"
    folder = cache_folder() / f"class-{hashlib.sha256(what.encode()).hexdigest()[:16]}"
    batches = []
    for first in range(0, n, 8):
        path = folder / f"{first}.safetensors"
        if not path.is_file():
            pictures = ldm.sample([prompt], 8, torch.Generator().manual_seed(first), guidance=guidance, steps=steps)
            write_tensors(path, {"pictures": pictures.mul(255).round().byte()}, shared=True)
        batches.append(load_file(path)["pictures"])
        if progress:
            progress("class pictures", min(first + 8, n), n)
    return torch.cat(batches)[:n].float().div(255)
