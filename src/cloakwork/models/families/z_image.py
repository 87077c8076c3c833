"""Z-Image: a transformer that matches flows, and reads the last but one layer of a language model.

Picture and text are one sequence of tokens, 2 x 2 latents to one. A prompt is put to a Qwen3 that
may think before it answers, and has as many tokens as it takes. The transformer is told how much is
left of the picture, and predicts a flow the other way round. Guidance is done in two passes; the
pipeline counts its scale from 0 (the text alone), here it is one more, as everywhere. Turbo takes
none: guidance=1. Trained as in diffusers' train_dreambooth_lora_z_image.py (its defaults):
timesteps are uniform, and every one counts alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cloakwork.models.families import flow, flux, language, stable_diffusion
from cloakwork.models.families.family import Instruct
from cloakwork.models.text import Text

if TYPE_CHECKING:
    from cloakwork.models.ldm import LDM

NAME = "Z-Image"
PIPELINE = "ZImagePipeline"
EDITORS: Mapping[str, Instruct] = {}
PARTS = {
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "transformer": ("ZImageTransformer2DModel",),
    "text_encoder": ("Qwen3Model", "Qwen3ForCausalLM"),
}
DENOISER = "transformer"
LEARNERS = ()
PREDICTS = flow.PREDICTS
OPTIONS: dict[str, Any] = {}
ATTENTION = [f"attention.{layer}" for layer in ("to_q", "to_k", "to_v", "to_out.0")]
OTHERS = [f"feed_forward.{layer}" for layer in ("w1", "w2", "w3")]
TOKENS = 512
PATCH = flux.PATCH
SAVED = 17  # numbers that a block saves, each token and width; see flow.saved

prepare = stable_diffusion.prepare
unconditional = stable_diffusion.unconditional
guide = stable_diffusion.guide
weigh = stable_diffusion.weigh
timesteps = flux.timesteps
schedule = flux.schedule
side = flux.side
multiple = flux.multiple


def embed(ldm: LDM, prompts: Sequence[str]) -> Text:
    """Embed prompts as the last but one hidden states."""
    asked = (language.asked(ldm, prompt, thinking=True) for prompt in prompts)
    return language.ragged([language.read(ldm, words, TOKENS)[-2] for words in asked])


def denoise(ldm: LDM, z_t: Tensor, t: Tensor, c: Text) -> Tensor:
    """Predict by the transformer, which takes latents and texts one by one."""
    most = ldm.scheduler.config.num_train_timesteps
    out = ldm.denoiser(
        list(z_t[:, :, None].unbind()),
        (most - t.expand(len(z_t))) / most,
        [hidden[:length] for hidden, length in zip(c.hidden, c.lengths, strict=True)],
    ).sample
    return -torch.stack(out)[:, :, 0]


def channels(transformer: Any) -> int:
    """Return the transformer's input channels."""
    return transformer.config.in_channels


def features(transformer: Any) -> Sequence[nn.Module]:
    """Return the feed-forward layers in the last quarter of the blocks, whose tokens are both the
    text's and the picture's.
    """
    return flow.last_quarter([layer.feed_forward for layer in transformer.layers])


def saved(transformer: Any, places: int) -> int:
    """Estimate the numbers that are saved by the tokens of picture and text, and the blocks."""
    blocks = transformer.config.n_layers + transformer.config.n_refiner_layers
    return flow.saved(SAVED, blocks, transformer.config.dim, places // PATCH**2 + TOKENS)
