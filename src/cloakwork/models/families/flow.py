"""What families share that match flows by a transformer: timesteps, layers, sizes.

A timestep is 1000 times the share of noise in a latent, sigma, and need not be whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from cloakwork.models.text import Text
from cloakwork.types import Images

if TYPE_CHECKING:
    from cloakwork.models.ldm import LDM

T = TypeVar("T")

PREDICTS = ("flow",)
# ends of the names of a transformer's layers, for picture and text
ATTENTION = [
    *(f"attn.{layer}" for layer in ("to_q", "to_k", "to_v", "to_out.0")),
    *(f"attn.{layer}" for layer in ("add_q_proj", "add_k_proj", "add_v_proj", "to_add_out")),
]
FEED_FORWARD = [f"{part}.net.{layer}" for part in ("ff", "ff_context") for layer in ("0.proj", "2")]


def shown(ldm: LDM, prompts: Sequence[str], x: Images, z: Tensor) -> Text:
    """Embed prompts beside the latents of pictures, of which the text encoders see nothing."""
    return replace(ldm.embed(prompts), reference=z)


def tokens(pictures: Iterable[Tensor]) -> Tensor:
    """Return the places of pictures (each n x c x h x w) one behind the other, n x places x c."""
    return torch.cat([z.flatten(2).transpose(1, 2) for z in pictures], 1)


def picture(out: Tensor, like: Tensor) -> Tensor:
    """Return the first places of a sequence (n x places x c) as a picture of the size of `like`."""
    height, width = like.shape[-2:]
    return out[:, : height * width].transpose(1, 2).unflatten(2, (height, width))


def at(scheduler: Any, u: Tensor) -> Tensor:
    """Return the training timesteps at shares u (n, in [0, 1)) of the scheduler's, from the most
    noise on.

    They are those of a scheduler that was just made, with the shift that its config names unless
    that goes by the picture's size; so it is in train_dreambooth_lora_sd3.py and
    train_dreambooth_lora_flux.py of diffusers.
    """
    config = scheduler.config
    last = config.num_train_timesteps
    s = (last - (u * last).long()) / last
    if not config.use_dynamic_shifting:
        s = config.shift * s / (1 + (config.shift - 1) * s)
    return s * last


def sigma(scheduler: Any, t: Tensor) -> Tensor:
    """Return the share of noise at timesteps t (n), n x 1 x 1 x 1."""
    return (t.float() / scheduler.config.num_train_timesteps).view(-1, 1, 1, 1)


def shift(config: Any, tokens: int) -> float:
    """Return mu: larger pictures are sampled with more noise for longer.

    A straight line over the transformer's tokens through two points of the scheduler's config.

    >>> shift({}, 256), round(shift({}, 4096), 3)
    (0.5, 1.15)
    """
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base, most = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return base + (most - base) * (tokens - low) / (high - low)


def logit_normal(n: int, rng: torch.Generator | None) -> Tensor:
    """Draw n shares in (0, 1) around a half: the sigmoid of normal numbers."""
    return torch.randn(n, generator=rng).sigmoid()


def last_quarter(layers: Sequence[T]) -> Sequence[T]:
    """Return the last quarter of layers, one at least: where a UNet's last up-block stands.

    >>> last_quarter(range(9)), last_quarter(range(2))
    (range(7, 9), range(1, 2))
    """
    return layers[-max(1, len(layers) // 4) :]


def saved(each: int, blocks: int, width: int, tokens: int) -> int:
    """Estimate the numbers that frozen transformer blocks save for their backward.

    A block saves what its norms, its activations and its attention are given, and what the
    attention gives, each as wide as a token or some times as wide. A fused attention keeps no maps,
    and a layer that does not learn keeps its weights alone.

    Args:
        each: numbers for each token and each of its width in a block.
        blocks, width, tokens: how many, and how wide a token is.
    """
    return each * blocks * width * tokens
