"""FLUX.1: a transformer that matches flows, and reads a T5 and one CLIP's pooled prompt.

Latents are packed, 2 x 2 places to a token. "dev" is distilled from guidance: it is told a scale,
and a picture takes one pass a step. "schnell" is told none. "Kontext" is a dev that may be shown a
picture, whose tokens come behind those that are denoised. Guidance in two passes, away from a
negative prompt, is only done where there is one, as in the pipeline (its true_cfg_scale). Trained
as in diffusers' train_dreambooth_lora_flux.py (its defaults): timesteps are uniform, every one
counts alike, and dev is told a scale of 3.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cloakwork.models import latents
from cloakwork.models.families import flow, stable_diffusion
from cloakwork.models.families.family import token_ids
from cloakwork.models.text import Text

if TYPE_CHECKING:
    from cloakwork.models.ldm import LDM

NAME = "FLUX.1"
PIPELINE = "FluxPipeline"
EDITORS = {"FluxKontextPipeline": flow.shown}
PARTS = {
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "transformer": ("FluxTransformer2DModel",),
    "text_encoder": ("CLIPTextModel",),
    "text_encoder_2": ("T5EncoderModel",),
}
DENOISER = "transformer"
LEARNERS = ("text_encoder",)
PREDICTS = flow.PREDICTS
OPTIONS = {"image_encoder": None, "feature_extractor": None}
ATTENTION = flow.ATTENTION
OTHERS = [*flow.FEED_FORWARD, "proj_mlp"]
T5_TOKENS = 512
TRAINED_GUIDANCE = 3.5
PATCH = 2  # side of a token, latents
SAVED = 12  # numbers that a block saves, each token and width; see flow.saved
SIZE = 1024  # pixels, where the autoencoder does not say

prepare = stable_diffusion.prepare
guide = stable_diffusion.guide
weigh = stable_diffusion.weigh


def embed(ldm: LDM, prompts: Sequence[str]) -> Text:
    """Embed prompts as the T5's hidden states and the CLIP's pooled prompt."""
    pooled = ldm.text_encoder(token_ids(ldm, ldm.tokenizer, prompts)).pooler_output.float()
    hidden = ldm.text_encoder_2(token_ids(ldm, ldm.tokenizer_2, prompts, T5_TOKENS))[0].float()
    told = ldm.denoiser.config.guidance_embeds
    return Text(hidden, pooled, pooled.new_full((len(pooled),), TRAINED_GUIDANCE) if told else None)


def unconditional(ldm: LDM, negative: str) -> Text | None:
    """Return the negative prompt, if there is one."""
    return ldm.embed([negative]) if negative else None


def denoise(ldm: LDM, z_t: Tensor, t: Tensor, c: Text) -> Tensor:
    """Predict by the transformer, on packed latents."""
    pictures = [z_t] if c.reference is None else [z_t, c.reference]
    packed = [F.pixel_unshuffle(z, PATCH) for z in pictures]
    out = ldm.denoiser(
        hidden_states=flow.tokens(packed),
        timestep=t.expand(len(z_t)) / ldm.scheduler.config.num_train_timesteps,
        guidance=c.guidance,
        pooled_projections=c.pooled,
        encoder_hidden_states=c.hidden,
        txt_ids=z_t.new_zeros(c.hidden.shape[1], 3),
        img_ids=torch.cat([places(z, i, axes=3) for i, z in enumerate(packed)]),
    ).sample
    return F.pixel_shuffle(flow.picture(out, packed[0]), PATCH)


def places(tokens: Tensor, picture: int, axes: int) -> Tensor:
    """Return where the tokens of a picture are (n x c x h x w): picture, row, column, and zeros."""
    height, width = tokens.shape[-2:]
    rows, columns = (torch.arange(n, device=tokens.device) for n in (height, width))
    at = tokens.new_zeros(height, width, axes)
    at[..., 0], at[..., 1], at[..., 2] = picture, rows[:, None], columns[None]
    return at.flatten(0, 1)


def timesteps(scheduler: Any, n: int, rng: torch.Generator | None) -> Tensor:
    """Draw timesteps, uniform over the schedule."""
    return flow.at(scheduler, torch.rand(n, generator=rng))


def schedule(scheduler: Any, steps: int, places: int) -> dict[str, Any]:
    """Return even shares of noise, which the scheduler shifts by the size where it says so."""
    return {
        "sigmas": np.linspace(1, 1 / steps, steps),
        "mu": flow.shift(scheduler.config, places // PATCH**2),
    }


def side(vae: Any, transformer: Any) -> int:
    """Return the side that the autoencoder was trained at; the transformer's config names none."""
    return vae.config.get("sample_size", SIZE) // latents.scale(vae)


def channels(transformer: Any) -> int:
    """Return the channels of the latents that are packed."""
    return transformer.config.in_channels // PATCH**2


def multiple(transformer: Any) -> int:
    """Return the side of a token."""
    return PATCH


def features(transformer: Any) -> Sequence[nn.Module]:
    """Return the layers that end the last quarter of the blocks, whose tokens are both the text's
    and the picture's.
    """
    double = [block.ff for block in transformer.transformer_blocks]
    return flow.last_quarter(
        [*double, *(block.proj_out for block in transformer.single_transformer_blocks)]
    )


def saved(transformer: Any, places: int) -> int:
    """Estimate the numbers that are saved by the tokens of picture and text, and the blocks."""
    config = transformer.config
    blocks = config.num_layers + config.num_single_layers
    return flow.saved(SAVED, blocks, transformer.inner_dim, places // PATCH**2 + T5_TOKENS)
