"""Stable Diffusion 1.x and 2.x: a UNet that reads the last hidden states of one CLIP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cloakwork.models.families.family import Instruct, as_it_is, token_ids
from cloakwork.models.text import Text

if TYPE_CHECKING:
    from cloakwork.models.ldm import LDM

NAME = "Stable Diffusion 1.x and 2.x"
PIPELINE = "StableDiffusionPipeline"
EDITORS: Mapping[str, Instruct] = {}
PARTS = {
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "unet": ("UNet2DConditionModel",),
    "text_encoder": ("CLIPTextModel",),
}
DENOISER = "unet"
LEARNERS = ("text_encoder",)
PREDICTS = ("epsilon", "v_prediction")
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
OTHERS = [
    "proj_in",
    "proj_out",
    "ff.net.0.proj",
    "ff.net.2",
    "conv1",
    "conv2",
    "conv_shortcut",
    "time_emb_proj",
    "conv",
]
OPTIONS = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}

prepare = as_it_is


def embed(ldm: LDM, prompts: Sequence[str]) -> Text:
    """Embed prompts as the text encoder's last hidden states."""
    return Text(ldm.text_encoder(token_ids(ldm, ldm.tokenizer, prompts))[0].float())


def unconditional(ldm: LDM, negative: str) -> Text:
    """Embed the negative prompt; "" is one too."""
    return ldm.embed([negative])


def guide(held: Tensor, free: Tensor, scale: float) -> Tensor:
    """Return the text's prediction, led away from the other (Ho and Salimans, arXiv 2207.12598)."""
    return free + scale * (held - free)


def denoise(ldm: LDM, z_t: Tensor, t: Tensor, c: Text) -> Tensor:
    """Predict by the UNet."""
    return ldm.denoiser(z_t, t, encoder_hidden_states=c.hidden).sample


def timesteps(scheduler: Any, n: int, rng: torch.Generator | None) -> Tensor:
    """Draw timesteps, uniform over the schedule."""
    return torch.randint(0, scheduler.config.num_train_timesteps, (n,), generator=rng)


def weigh(scheduler: Any, off: Tensor, t: Tensor) -> Tensor:
    """Return all of it: every timestep counts alike."""
    return off


def schedule(scheduler: Any, steps: int, places: int) -> dict[str, Any]:
    """Leave timesteps to the scheduler."""
    return {"num_inference_steps": steps}


def side(vae: Any, unet: Any) -> int:
    """Return the side that the UNet's config names."""
    return unet.config.sample_size


def channels(unet: Any) -> int:
    """Return the UNet's input channels; an inpainting UNet's are more than a latent's."""
    return unet.config.in_channels


def multiple(unet: Any) -> int:
    """Return how much smaller the last level is: each but the first halves the sides."""
    return 2 ** (len(unet.config.block_out_channels) - 1)


def features(unet: Any) -> Sequence[nn.Module]:
    """Return the layers inside the residual blocks of the last up-block."""
    return [block.conv2 for block in unet.up_blocks[-1].resnets]


def saved(unet: Any, places: int) -> int:
    """Estimate the numbers that are saved by the channels of the first level.

    Each level has a quarter of the places and at most twice the channels of the one before, so that
    the first one tells the size of all. Counted for Stable Diffusion 1 at 512 and 1024 px.
    """
    return 320 * places * unet.config.block_out_channels[0]
