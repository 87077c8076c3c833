"""What a protection would compute, counted without computing it: its own code runs on a hollow
model that costs nothing, one turn of every kind, multiplied.

The hollow model is a real LDM of the smallest possible parts, on pictures of a few pixels. A count
from the code itself cannot drift from the code.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from cloakwork.models.counting import one_turn_each, stands_for
from cloakwork.models.ldm import LDM
from cloakwork.models.pretrained_parts import quiet
from cloakwork.state import Progress, RunState
from cloakwork.types import Photos
from cloakwork.workflows.tally import Counts, Tally

SIDE, LATENT = 16, 4


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
        module, config, photos, surrogates, clean: as in `tallied`.
        whole: go through every turn of every loop, which takes minutes for long schedules.
    """
    with nullcontext() if whole else one_turn_each():
        tally = _gone_through(module, config, photos, surrogates, clean)
    return tally.counts.whole()


def tallied(
    module: ModuleType,
    config: Any,
    *,
    photos: int,
    surrogates: int = 1,
    clean: int = 0,
    low_memory: bool = False,
) -> Tally:
    """Return all that is counted of what `module.protect` would do with a config.

    Args:
        module: a protection.
        config: its Config.
        photos: photos in the set.
        surrogates: models to protect against.
        clean: unprotected photos that the protection may learn from.
        low_memory: of the surrogates.
    """
    with one_turn_each():
        return _gone_through(module, config, photos, surrogates, clean, low_memory=low_memory)


def _gone_through(
    module: ModuleType,
    config: Any,
    photos: int,
    surrogates: int,
    clean: int,
    *,
    low_memory: bool = False,
) -> Tally:
    """Run a protection on hollow models, and return what it did."""

    def run(images: Photos, models: list[LDM], state: RunState) -> None:
        module.protect(
            images[:photos],
            models,
            config,
            clean=images[photos:] or None,
            rng=torch.Generator().manual_seed(0),
            state=state,
        )

    tally = Tally()
    run_hollow(run, tally, photos=photos + clean, models=surrogates, low_memory=low_memory)
    return tally


def run_hollow(
    run: Callable[[Photos, list[LDM], RunState], object],
    tally: Tally,
    *,
    photos: int,
    models: int,
    label: str = "",
    progress: Progress | None = None,
    low_memory: bool = False,
) -> None:
    """Run a method on hollow models.

    Args:
        run: the method, given photos, models and its state.
        tally: what it does is added to it.
        photos, models: how many it gets.
        label, progress: of the state.
        low_memory: of the models.
    """
    quiet()  # the hollow model's text encoder is too small for its own defaults
    hollow = [replace(_stub(tally, f"hollow {i}"), low_memory=low_memory) for i in range(models)]
    images = [
        torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(i)) for i in range(photos)
    ]

    def step(*_: Any) -> None:
        tally.add("training_steps", stands_for())

    hook = register_optimizer_step_post_hook(step)
    try:
        with own_cache():
            run(images, hollow, _State(tally, label, progress))
    finally:
        hook.remove()


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

    def __init__(self, tally: Tally, label: str, progress: Progress | None) -> None:
        super().__init__(None, label, progress)
        self.tally = tally

    def record(self, value: Tensor, finite: Tensor, alive: Tensor, refusal: str) -> None:
        self.tally.add("pgd_steps", stands_for())
        self.tally.close()
        super().record(value, finite, alive, refusal)


class _Autoencoder(nn.Module):
    """Pool and repeat, with the interface of AutoencoderKL."""

    def __init__(self, tally: Tally) -> None:
        from diffusers.configuration_utils import FrozenDict

        super().__init__()
        self.tally = tally
        self.gain = nn.Parameter(torch.ones(()), requires_grad=False)
        self.config = FrozenDict(
            block_out_channels=(1, 1, 1, 1), latent_channels=LATENT, scaling_factor=1.0
        )

    def encode(self, x: Tensor) -> Any:
        z = nn.functional.avg_pool2d(x, 8).mean(1, keepdim=True).repeat(1, LATENT, 1, 1) * self.gain
        self.tally.watch("vae_encode", z)
        return SimpleNamespace(latent_dist=SimpleNamespace(parameters=torch.cat([z, z], 1)))

    def decode(self, z: Tensor) -> Any:
        x = nn.functional.interpolate(z[:, :3], scale_factor=8.0) * self.gain
        self.tally.watch("vae_decode", x)
        return SimpleNamespace(sample=x)


class _Tokenizer:
    """A tokenizer that makes two tokens of every prompt."""

    model_max_length = 2

    def get_added_vocab(self) -> dict[str, int]:
        return {}

    def __call__(self, prompts: list[str], **_: Any) -> Any:
        return SimpleNamespace(input_ids=torch.tensor([[1, 1 + len(p) % 7] for p in prompts]))


def _stub(tally: Tally, weights: str) -> LDM:
    """Return a hollow model that counts its calls.

    `weights` tells it from others, which train surrogates of their own.
    """
    from diffusers import DDPMScheduler

    unet, text, vae = _unet(tally), _text_encoder(), _Autoencoder(tally)
    weights_rng = torch.Generator().manual_seed(0)
    for part in (unet, text, vae):
        part.eval().requires_grad_(False)
        for p in part.parameters():  # where gradients decide what comes next, chance does not
            if p.dim() > 1:
                p.normal_(std=0.3, generator=weights_rng)
    return LDM("hollow", vae, unet, text, _Tokenizer(), DDPMScheduler(), weights, SIDE)


def _unet(tally: Tally) -> Any:
    """Return a denoiser of four channels that counts its calls."""
    from diffusers import UNet2DConditionModel

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
        learns = all(p.requires_grad for p in unet.parameters())
        tally.watch("unet", out.sample, learns=learns)

    unet.register_forward_hook(watch)
    return unet


def _text_encoder() -> Any:
    """Return a text encoder of one layer, for two tokens."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
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
