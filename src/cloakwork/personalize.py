"""The one training loop that surrogates and thieves share: DreamBooth's two losses on cached latents.

DreamBooth: Ruiz et al., arXiv 2208.12242. The latents of pictures that do not change are encoded once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cloakwork.ldm import LDM
from cloakwork.state import Progress, cache_folder, write_tensors
from cloakwork.types import Images

Precision = Literal["float32", "bfloat16"]


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
    batch: int = 1
    """instance pictures a step (as many class pictures again)"""
    prior_weight: float = 1.0
    """weight of the loss on class pictures"""
    text_encoder: bool = True
    """train the text encoder too"""
    weights: Precision = "float32"
    """precision the weights are kept in between steps"""


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
    round all of them.
    Gradients are clipped to norm 1.
    """
    with ldm.trainable(text_encoder=how.text_encoder) as named:
        params = list(named.values())
        optimizer = torch.optim.AdamW(params, lr=how.lr, weight_decay=1e-2, fused=True)
        for step in range(steps):
            loss = _error(ldm, subject, how.batch, first + step, rng)
            if kind is not None:
                loss = loss + how.prior_weight * _error(ldm, kind, how.batch, kind_first + step, rng)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(params, 1.0)
            optimizer.step()
            if how.weights == "bfloat16":
                round_weights(params)


def _error(ldm: LDM, what: Lesson, batch: int, step: int, rng: torch.Generator) -> Tensor:
    turn = [(step * batch + i) % len(what.latents) for i in range(batch)]
    return ldm.latent_loss(what.latents[turn], ldm.embed([what.prompt]), rng)


@torch.no_grad()
def round_weights(params: Iterable[Tensor]) -> None:
    """Rounds weights to what bf16 can hold, as training without fp32 master weights does after every step."""
    for p in params:
        p.copy_(p.bfloat16().float())


def weights_of(ldm: LDM) -> dict[str, Tensor]:
    """UNet and text encoder weights by name (not copied)."""
    return {f"{part}.{k}": p.detach() for part in ("unet", "text_encoder") for k, p in getattr(ldm, part).named_parameters()}


@torch.no_grad()
def set_weights(ldm: LDM, weights: dict[str, Tensor]) -> None:
    """Writes weights back in place and drops text embeddings that the old ones made."""
    for name, p in weights_of(ldm).items():
        p.copy_(weights[name])
    ldm.forget_text()


@contextmanager
def borrowed(ldm: LDM) -> Iterator[LDM]:
    """Inside, the model may be trained; afterwards it has its old weights again. Two swapped sets, no second model."""
    before = {k: p.clone() for k, p in weights_of(ldm).items()}
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
            write_tensors(path, {"pictures": pictures.mul(255).round().byte()})
        batches.append(load_file(path)["pictures"])
        if progress:
            progress("class pictures", min(first + 8, n), n)
    return torch.cat(batches)[:n].float().div(255)
