"""Stable Diffusion 3 and 3.5: a transformer that matches flows, and reads two CLIPs and a T5.

Trained as in diffusers' train_dreambooth_lora_sd3.py (its defaults): timesteps are logit-normal,
and the error is that of the clean latent which the prediction implies, so that it counts sigma
squared. Prompts have 256 T5 tokens, as in the pipeline (the trainer: 77). A folder without the T5
is read as the pipeline reads it: that part of a prompt is zeros, of which one is computed for all
(`equal_tokens`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cloakwork.models.families import equal_tokens, flow, stable_diffusion
from cloakwork.models.families.family import Instruct, token_ids
from cloakwork.models.text import Text

if TYPE_CHECKING:
    from cloakwork.models.ldm import LDM

NAME = "Stable Diffusion 3 and 3.5"
PIPELINE = "StableDiffusion3Pipeline"
EDITORS: Mapping[str, Instruct] = {}
PARTS = {
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "transformer": ("SD3Transformer2DModel",),
    "text_encoder": ("CLIPTextModelWithProjection",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
    "text_encoder_3": ("T5EncoderModel", None),
}
DENOISER = "transformer"
LEARNERS = ("text_encoder", "text_encoder_2")
PREDICTS = flow.PREDICTS
OPTIONS = {"image_encoder": None, "feature_extractor": None}
ATTENTION = flow.ATTENTION
OTHERS = flow.FEED_FORWARD
CLIP_TOKENS, T5_TOKENS = 77, 256
SAVED = 16  # numbers that a block saves, each token and width; see flow.saved

unconditional = stable_diffusion.unconditional
guide = stable_diffusion.guide


def prepare(ldm: LDM) -> None:
    """Where there is no T5, have one token of zeros stand for all that it would have given."""
    if ldm.text_encoder_3 is None:
        equal_tokens.let_one_stand(ldm.denoiser, T5_TOKENS)


def embed(ldm: LDM, prompts: Sequence[str]) -> Text:
    """Embed prompts: the CLIPs' last but one hidden states side by side, the T5's behind them."""
    clips = [
        encoder(token_ids(ldm, tokenizer, prompts), output_hidden_states=True)
        for tokenizer, encoder in (
            (ldm.tokenizer, ldm.text_encoder),
            (ldm.tokenizer_2, ldm.text_encoder_2),
        )
    ]
    width = ldm.denoiser.config.joint_attention_dim
    hidden = torch.cat([clip.hidden_states[-2] for clip in clips], -1)
    hidden = F.pad(hidden, (0, width - hidden.shape[-1]))
    if ldm.text_encoder_3 is None:
        behind = hidden.new_zeros(len(prompts), 1, width)
    else:
        behind = ldm.text_encoder_3(token_ids(ldm, ldm.tokenizer_3, prompts, T5_TOKENS))[0]
    pooled = torch.cat([clip.text_embeds for clip in clips], -1)
    return Text(torch.cat([hidden.float(), behind.float()], 1), pooled.float())


def denoise(ldm: LDM, z_t: Tensor, t: Tensor, c: Text) -> Tensor:
    """Predict by the transformer."""
    return ldm.denoiser(
        hidden_states=z_t,
        timestep=t.expand(len(z_t)),
        encoder_hidden_states=c.hidden,
        pooled_projections=c.pooled,
    ).sample


def timesteps(scheduler: Any, n: int, rng: torch.Generator | None) -> Tensor:
    """Draw timesteps whose share is logit-normal."""
    return flow.at(scheduler, flow.logit_normal(n, rng))


def weigh(scheduler: Any, off: Tensor, t: Tensor) -> Tensor:
    """Return how far the clean latent is off that the prediction implies."""
    return off * flow.sigma(scheduler, t)


def schedule(scheduler: Any, steps: int, places: int) -> dict[str, Any]:
    """Leave timesteps to the scheduler, shifted by the size where it says so."""
    dynamic = scheduler.config.get("use_dynamic_shifting")
    mu = {"mu": flow.shift(scheduler.config, places // 4)} if dynamic else {}
    return {"num_inference_steps": steps, **mu}


def side(vae: Any, transformer: Any) -> int:
    """Return the side that the transformer's config names."""
    return transformer.config.sample_size


def channels(transformer: Any) -> int:
    """Return the transformer's input channels."""
    return transformer.config.in_channels


def multiple(transformer: Any) -> int:
    """Return the side of a token."""
    return transformer.config.patch_size


def features(transformer: Any) -> Sequence[nn.Module]:
    """Return the feed-forward layers of the picture's tokens in the last quarter of the blocks."""
    return flow.last_quarter([block.ff for block in transformer.transformer_blocks])


def saved(transformer: Any, places: int) -> int:
    """Estimate the numbers that are saved by the tokens of picture and text, and the blocks."""
    config = transformer.config
    behind = 1 if equal_tokens.one_stands(transformer) else T5_TOKENS
    tokens = places // config.patch_size**2 + CLIP_TOKENS + behind
    return flow.saved(SAVED, config.num_layers, transformer.inner_dim, tokens)
