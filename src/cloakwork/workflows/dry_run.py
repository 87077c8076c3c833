"""What a protection would compute, counted without computing it: its own code runs on a hollow
model that costs nothing, one turn of every kind, multiplied.

The hollow model is a real LDM of the smallest possible parts, on pictures of a few pixels. A count
from the code itself cannot drift from the code.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
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

    def whole(self) -> Counts:
        """Return the counts as whole numbers: things that are drawn were counted by shares."""
        return Counts(**{name: round(n) for name, n in vars(self).items()})


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
    with nullcontext() if whole else one_turn_each():
        run_hollow(run, tally, photos=photos + clean, models=surrogates)
    return tally.counts.whole()


@dataclass
class Tally:
    """Passes so far."""

    counts: Counts = field(default_factory=Counts)
    pictures: Counter[str] = field(default_factory=Counter)
    """by the name in `Counts`: how many pictures went through in those calls"""

    def add(self, name: str, calls: float, pictures: int = 1) -> None:
        """Add calls of so many pictures each."""
        setattr(self.counts, name, getattr(self.counts, name) + calls)
        self.pictures[name] += calls * pictures  # type: ignore[assignment] - shares of passes


def run_hollow(
    run: Callable[[Photos, list[LDM], RunState], object],
    tally: Tally,
    *,
    photos: int,
    models: int,
    label: str = "",
    progress: Progress | None = None,
) -> None:
    """Run a method on hollow models.

    Args:
        run: the method, given photos, models and its state.
        tally: what it does is added to it.
        photos, models: how many it gets.
        label, progress: of the state.
    """
    quiet()  # the hollow model's text encoder is too small for its own defaults
    hollow = [_stub(tally, f"hollow {i}") for i in range(models)]
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
        n = stands_for()
        self.tally.add("vae_encode", n, len(x))
        z = nn.functional.avg_pool2d(x, 8).mean(1, keepdim=True).repeat(1, LATENT, 1, 1) * self.gain
        if z.requires_grad:
            z.register_hook(lambda g: self.tally.add("vae_encode_backward", n, len(x)))
        return SimpleNamespace(latent_dist=SimpleNamespace(parameters=torch.cat([z, z], 1)))

    def decode(self, z: Tensor) -> Any:
        n = stands_for()
        self.tally.add("vae_decode", n, len(z))
        x = nn.functional.interpolate(z[:, :3], scale_factor=8.0) * self.gain
        if x.requires_grad:
            x.register_hook(lambda g: self.tally.add("vae_decode_backward", n, len(z)))
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
        n, pictures = stands_for(), len(out.sample)
        tally.add("unet", n, pictures)
        if out.sample.requires_grad:
            out.sample.register_hook(lambda g: tally.add("unet_backward", n, pictures))

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
    vae = _Autoencoder(tally)
    weights_rng = torch.Generator().manual_seed(0)
    for part in (unet, text, vae):
        part.eval().requires_grad_(False)
        for p in part.parameters():  # where gradients decide what comes next, chance does not
            if p.dim() > 1:
                p.normal_(std=0.3, generator=weights_rng)
    return LDM("hollow", vae, unet, text, _Tokenizer(), DDPMScheduler(), weights, SIDE)
