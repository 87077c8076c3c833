"""The trainers of attackers and surrogates: DreamBooth, Custom Diffusion, LoRA, textual inversion.

huggingface/diffusers at 58eb52c: examples/dreambooth/train_dreambooth.py:1238-1344 (whole weights),
examples/custom_diffusion/train_custom_diffusion.py:934-976 and 1136-1216 with the attention of
src/diffusers/models/attention_processor.py:1220-1276 (keys and values of the cross-attention, a new
word), examples/dreambooth/train_dreambooth_lora.py:939-958, 1071-1073 and 1250-1336 (LoRA); at
000280f examples/textual_inversion/textual_inversion.py (the training loop of `main`; several new
words, nothing clipped). Photos at the model's own size, so that Custom Diffusion's mask is 1
everywhere; latents are the posterior's mean (the scripts take a sample).
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from releases.parts import Draws, Parts, signed

ATTENTION = (".to_q", ".to_k", ".to_v", ".to_out.0")
TEXT = (".q_proj", ".k_proj", ".v_proj", ".out_proj")


def train(
    parts: Parts,
    params: list[nn.Parameter],
    photos: Tensor,
    classes: Tensor | None,
    draws: Draws,
    *,
    prompts: tuple[str, str],
    lr: float,
    steps: int,
    batch: int,
    prior_weight: float = 1.0,
    clipped: bool = True,
) -> None:
    """AdamW on a batch of photos and as many class pictures (all in [0, 1]).

    Args:
        clipped: gradients to norm 1.
    """
    optimizer = torch.optim.AdamW(params, lr=lr, weight_decay=1e-2)
    turns = [itertools.cycle(signed(x)) for x in (photos, classes) if x is not None]
    words = [p for p, _ in zip(prompts, turns, strict=False) for _ in range(batch)]
    for _ in range(steps):
        x = torch.stack([next(turn) for turn in turns for _ in range(batch)])
        with torch.no_grad():
            z = replace(parts, sample=False).encode(x, draws)
        error = parts.error(z, parts.embed(words), draws.timestep(len(z)), draws.normal(len(z)))
        loss = error[:batch].mean()
        if classes is not None:
            loss = loss + prior_weight * error[batch:].mean()
        loss.backward()
        if clipped:
            nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def dreambooth(parts: Parts, photos: Tensor, classes: Tensor, draws: Draws, **how: Any) -> None:
    """UNet and text encoder learn."""
    train(parts, parts.weights(), photos, classes, draws, **how)


def custom_diffusion(
    parts: Parts,
    photos: Tensor,
    classes: Tensor,
    draws: Draws,
    *,
    word: str,
    like: str,
    **how: Any,
) -> None:
    """Keys and values of the cross-attention learn, and the new word.

    The release puts the word into the matrix of all embeddings and sets the gradients of the others
    to 0.

    Args:
        word: a token that is not in the vocabulary, in the prompts.
        like: the token that it begins as.
    """
    parts, rows = with_words(parts, [word], like)
    params = [*keys_and_values(parts.unet), rows]
    for p in params:
        p.requires_grad_(True)
    train(parts, params, photos, classes, draws, **how)


def textual_inversion(
    parts: Parts, photos: Tensor, draws: Draws, *, words: list[str], like: str, **how: Any
) -> None:
    """New words learn; the release lets all words learn, and sets the others back after each step.

    Args:
        words: tokens that are not in the vocabulary, in the prompt.
        like: the token that they begin as.
    """
    parts, rows = with_words(parts, words, like)
    train(parts, [rows], photos, None, draws, clipped=False, **how)


def with_words(parts: Parts, words: list[str], like: str) -> tuple[Parts, nn.Parameter]:
    """A frozen model that knows more words, and their embeddings, which learn."""
    for part in (parts.unet, parts.text_encoder):
        part.requires_grad_(False)
    parts = replace(parts, tokenizer=copy.deepcopy(parts.tokenizer))
    (begin,) = parts.tokenizer(like, add_special_tokens=False).input_ids
    parts.tokenizer.add_tokens(words)
    known = parts.text_encoder.get_input_embeddings()
    rows = nn.Parameter(known.weight[begin].detach().repeat(len(words), 1))
    parts.text_encoder.set_input_embeddings(More(known, rows))
    return parts, rows


class More(nn.Module):
    """Embeddings with more rows."""

    def __init__(self, known: nn.Embedding, rows: nn.Parameter) -> None:
        super().__init__()
        self.known, self.rows = known, rows

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, torch.cat([self.known.weight.detach(), self.rows]))

    @property
    def weight(self) -> Tensor:
        return self.known.weight


def keys_and_values(unet: Any) -> list[nn.Parameter]:
    """Those of the cross-attention, which from now on learn nothing from the first token of a
    text.
    """
    chosen = []
    processors = dict(unet.attn_processors)
    for name in processors:
        if name.endswith("attn2.processor"):
            attention = unet.get_submodule(name.removesuffix(".processor"))
            processors[name] = first_token_apart
            chosen += [attention.to_k.weight, attention.to_v.weight]
    unet.set_attn_processor(processors)
    return chosen


def first_token_apart(
    attention: Any, hidden: Tensor, encoder_hidden_states: Tensor, **unused: Any
) -> Tensor:
    """Attention to a text whose first token's key and value have no gradient."""
    queries = attention.to_q(hidden)

    def apart(linear: Callable[[Tensor], Tensor]) -> Tensor:
        x = linear(encoder_hidden_states)
        return torch.cat([x[:, :1].detach(), x[:, 1:]], 1)

    q, k, v = (
        x.unflatten(2, (attention.heads, -1)).transpose(1, 2)
        for x in (queries, apart(attention.to_k), apart(attention.to_v))
    )
    weights = (attention.scale * q @ k.mT).softmax(-1)
    return attention.to_out[0]((weights @ v).transpose(1, 2).flatten(2))


def lora(
    parts: Parts, photos: Tensor, draws: Draws, *, rank: int, text_encoder: bool, **how: Any
) -> None:
    """Low-rank layers on the attention of the UNet, and of the text encoder, learn; no class
    pictures.
    """
    params = add_lora(parts.unet, rank, draws, ATTENTION)
    if text_encoder:
        params += add_lora(parts.text_encoder, rank, draws, TEXT)
    train(parts, params, photos, None, draws, **how)


class Lora(nn.Module):
    """A linear layer and its low-rank addition."""

    def __init__(self, linear: nn.Linear, down: Tensor) -> None:
        super().__init__()
        self.linear = linear
        self.down = nn.Parameter(down.clone())
        self.up = nn.Parameter(torch.zeros(linear.out_features, len(down)))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + x @ self.down.mT @ self.up.mT


def add_lora(
    model: nn.Module, rank: int, draws: Draws, names: tuple[str, ...]
) -> list[nn.Parameter]:
    """Put low-rank layers on the linear layers whose names end so; the rest of the model is frozen.

    Returns:
        What learns: of each layer the first matrix, normal with standard deviation 1 / rank, and
        the second, 0.
    """
    model.requires_grad_(False)
    layers = [(n, m) for n, m in model.named_modules() if n.endswith(names)]
    params: list[nn.Parameter] = []
    for name, linear in layers:
        assert isinstance(linear, nn.Linear)
        layer = Lora(linear, draws.matrix(rank, linear.in_features) / rank)
        parent, _, last = name.rpartition(".")
        model.get_submodule(parent)._modules[last] = layer
        params += [layer.down, layer.up]
    return params
