"""What a protection would compute, counted without computing it: its own code runs on a hollow
model that costs nothing, one turn of every kind, multiplied.

The hollow model is a real LDM of the smallest possible parts, on pictures of a few pixels. A count
from the code itself cannot drift from the code.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from cloakwork.models.counting import one_turn_each, stands_for
from cloakwork.models.ldm import LDM
from cloakwork.models.pretrained_parts import quiet
from cloakwork.state import RunState

SIDE, LATENT = 16, 4


@dataclass
class Counts:
    """Steps, and calls of each part of the surrogates; a call is one micro-batch."""

    pgd_steps: int = 0
    """sign steps over the whole photo set; those of a search for timesteps, which are undone, count
    by their passes alone"""
    training_steps: int = 0
    """optimizer steps of surrogates"""
    vae_encode: int = 0
    vae_encode_backward: int = 0
    vae_decode: int = 0
    vae_decode_backward: int = 0
    unet: int = 0
    unet_backward: int = 0


def count(
    module: ModuleType,
    config: Any,
    *,
    photos: int = 4,
    surrogates: int = 1,
    clean: int = 0,
    whole: bool = False,
) -> Counts:
    """Count what `module.protect` would do with a config: the same numbers each time.

    Args:
        module: a protection.
        config: its Config.
        photos: photos in the set.
        surrogates: models to protect against.
        clean: unprotected photos that the protection may learn from.
        whole: go through every turn of every loop, which takes minutes for long schedules.
    """
    quiet()  # the hollow model's text encoder is too small for its own defaults
    counts = Counts()
    models = [_stub(counts, f"hollow {i}") for i in range(surrogates)]
    images = [
        torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(i))
        for i in range(photos + clean)
    ]
    state, rng = _State(counts), torch.Generator().manual_seed(0)

    def step(*_: Any) -> None:
        _add(counts, "training_steps", stands_for())

    hook = register_optimizer_step_post_hook(step)
    try:
        with own_cache(), nullcontext() if whole else one_turn_each():
            module.protect(
                images[:photos], models, config, clean=images[photos:] or None, rng=rng, state=state
            )
    finally:
        hook.remove()
    return Counts(**{name: round(n) for name, n in vars(counts).items()})


@contextmanager
def own_cache() -> Iterator[Path]:
    """Yield a temporary folder, to which goes what would be cached."""
    before = os.environ.get("CLOAKWORK_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CLOAKWORK_CACHE"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("CLOAKWORK_CACHE")
            if before is not None:
                os.environ["CLOAKWORK_CACHE"] = before


class _State(RunState):
    """A run state that counts the steps of PGD that it is told of."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def record(self, value: Tensor, finite: Tensor, alive: Tensor, refusal: str) -> None:
        _add(self.counts, "pgd_steps", stands_for())
        super().record(value, finite, alive, refusal)


class _Autoencoder(nn.Module):
    """Pool and repeat, with the interface of AutoencoderKL."""

    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts
        self.gain = nn.Parameter(torch.ones(()), requires_grad=False)
        self.config = SimpleNamespace(
            block_out_channels=(1, 1, 1, 1), latent_channels=LATENT, scaling_factor=1.0
        )

    def encode(self, x: Tensor) -> Any:
        n = stands_for()
        _add(self.counts, "vae_encode", n)
        z = nn.functional.avg_pool2d(x, 8).mean(1, keepdim=True).repeat(1, LATENT, 1, 1) * self.gain
        if z.requires_grad:
            z.register_hook(lambda g: _add(self.counts, "vae_encode_backward", n))
        return SimpleNamespace(latent_dist=SimpleNamespace(parameters=torch.cat([z, z], 1)))

    def decode(self, z: Tensor) -> Any:
        n = stands_for()
        _add(self.counts, "vae_decode", n)
        x = nn.functional.interpolate(z[:, :3], scale_factor=8.0) * self.gain
        if x.requires_grad:
            x.register_hook(lambda g: _add(self.counts, "vae_decode_backward", n))
        return SimpleNamespace(sample=x)


class _Tokenizer:
    """A tokenizer that makes two tokens of every prompt."""

    model_max_length = 2

    def get_added_vocab(self) -> dict[str, int]:
        return {}

    def __call__(self, prompts: list[str], **_: Any) -> Any:
        return SimpleNamespace(input_ids=torch.tensor([[1, 1 + len(p) % 7] for p in prompts]))


def _stub(counts: Counts, weights: str) -> LDM:
    """Return a hollow model that counts its calls.

    `weights` tells it from others, which train surrogates of their own.
    """
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    unet: Any = UNet2DConditionModel(
        sample_size=SIDE // 8,
        in_channels=LATENT,
        out_channels=LATENT,
        layers_per_block=1,
        block_out_channels=(4,),
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        mid_block_type=None,
        norm_num_groups=1,
        cross_attention_dim=4,
        attention_head_dim=4,
    )

    def watch(_: nn.Module, __: Any, out: Any) -> None:
        n = stands_for()
        _add(counts, "unet", n)
        if out.sample.requires_grad:
            out.sample.register_hook(lambda g: _add(counts, "unet_backward", n))

    unet.register_forward_hook(watch)
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=8,
            hidden_size=4,
            intermediate_size=4,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=2,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
        )
    )
    vae = _Autoencoder(counts)
    weights_rng = torch.Generator().manual_seed(0)
    for part in (unet, text, vae):
        part.eval().requires_grad_(False)
        for p in part.parameters():  # where gradients decide what comes next, chance does not
            if p.dim() > 1:
                p.normal_(std=0.3, generator=weights_rng)
    return LDM("hollow", vae, unet, text, _Tokenizer(), DDPMScheduler(), weights, SIDE)


def _add(counts: Counts, name: str, n: float) -> None:
    """Add n to a count."""
    setattr(counts, name, getattr(counts, name) + n)
