"""FLUX.2 klein: a transformer that matches flows, and reads three layers of a language model.

Latents are packed by the autoencoder's own norm, a token each. A prompt is 512 tokens of a Qwen3,
whose padding counts too. The base models are guided in two passes, as in the pipeline (which knows
no negative prompt but ""); a distilled one takes neither guidance nor a negative prompt. Each may
be shown a picture, whose tokens come behind those that are denoised. Trained as in diffusers'
train_dreambooth_lora_flux2_klein.py (its defaults): timesteps are uniform, and every one counts
alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from cloakwork.models.families import flow, flux, language, stable_diffusion
from cloakwork.models.text import Text
from cloakwork.photos.tensors import send

if TYPE_CHECKING:
    from cloakwork.models.ldm import LDM

NAME = "FLUX.2 klein"
PIPELINE = "Flux2KleinPipeline"
EDITORS = {PIPELINE: flow.shown}
PARTS = {
    "vae": ("AutoencoderKLFlux2",),
    "transformer": ("Flux2Transformer2DModel",),
    "text_encoder": ("Qwen3ForCausalLM",),
}
DENOISER = "transformer"
LEARNERS = ()
PREDICTS = flow.PREDICTS
OPTIONS: dict[str, Any] = {}
BLOCKS = 48  # of one kind, at most
ATTENTION = [
    *flow.ATTENTION,
    # attention and feed-forward of these blocks are the same layers
    "attn.to_qkv_mlp_proj",
    *(f"single_transformer_blocks.{i}.attn.to_out" for i in range(BLOCKS)),
]
OTHERS = [f"{part}.linear_{end}" for part in ("ff", "ff_context") for end in ("in", "out")]
TOKENS = 512
SAVED = 17  # numbers that a block saves, each token and width; see flow.saved
LAYERS = (9, 18, 27)  # whose hidden states a prompt is
AXES = 4  # of a token's place: picture, row, column, word
SHOWN = 10  # the number of a picture that is shown, beside 0 of that which is denoised

prepare = stable_diffusion.prepare
guide = stable_diffusion.guide
weigh = stable_diffusion.weigh
timesteps = flux.timesteps
side = flux.side


def embed(ldm: LDM, prompts: Sequence[str]) -> Text:
    """Embed prompts as hidden states of three layers, side by side."""
    inputs = ldm.tokenizer(
        [language.asked(ldm, prompt, thinking=False) for prompt in prompts],
        padding="max_length",
        max_length=TOKENS,
        truncation=True,
        return_tensors="pt",
    )
    states = ldm.text_encoder.base_model(
        input_ids=send(inputs.input_ids, ldm.device),
        attention_mask=send(inputs.attention_mask, ldm.device),
        output_hidden_states=True,
        use_cache=False,
    ).hidden_states
    return Text(torch.cat([states[layer] for layer in LAYERS], -1).float())


def unconditional(ldm: LDM, negative: str) -> Text | None:
    """Embed the negative prompt; a distilled model is led away from nothing."""
    return None if ldm.distilled else ldm.embed([negative])


def denoise(ldm: LDM, z_t: Tensor, t: Tensor, c: Text) -> Tensor:
    """Predict by the transformer, a token to a latent."""
    pictures = {0: z_t} if c.reference is None else {0: z_t, SHOWN: c.reference}
    words = z_t.new_zeros(c.hidden.shape[1], AXES)
    words[:, -1] = torch.arange(len(words), device=z_t.device)
    out = ldm.denoiser(
        hidden_states=flow.tokens(pictures.values()),
        timestep=t.expand(len(z_t)) / ldm.scheduler.config.num_train_timesteps,
        guidance=None,
        encoder_hidden_states=c.hidden,
        txt_ids=words,
        img_ids=torch.cat([flux.places(z, number, AXES) for number, z in pictures.items()]),
    ).sample
    return flow.picture(out, z_t)


def schedule(scheduler: Any, steps: int, places: int) -> dict[str, Any]:
    """Return even shares of noise, which the scheduler shifts by the size and the steps."""
    return {"sigmas": np.linspace(1, 1 / steps, steps), "mu": shift(places, steps)}


def shift(tokens: int, steps: int) -> float:
    """Return mu, which was fitted to pictures of many sizes and steps.

    Lines over the tokens for 10 and for 200 steps, and one over the steps between them; large
    pictures have that of 200. From compute_empirical_mu of diffusers' pipeline.

    >>> round(shift(4096, 4), 2), round(shift(4096, 50), 2), round(shift(5000, 4), 2)
    (2.29, 2.02, 1.3)
    """
    of_200 = 0.00016927 * tokens + 0.45666666
    if tokens > 4300:
        return of_200
    of_10 = 8.73809524e-05 * tokens + 1.89833333
    return of_200 + (of_200 - of_10) / 190 * (steps - 200)


def channels(transformer: Any) -> int:
    """Return the transformer's input channels."""
    return transformer.config.in_channels


def multiple(transformer: Any) -> int:
    """Return the side of a token: a latent is packed already."""
    return 1


def features(transformer: Any) -> Sequence[nn.Module]:
    """Return the layers that end the last quarter of the blocks, whose tokens are both the text's
    and the picture's.
    """
    double = [block.ff for block in transformer.transformer_blocks]
    single = [block.attn.to_out for block in transformer.single_transformer_blocks]
    return flow.last_quarter([*double, *single])


def saved(transformer: Any, places: int) -> int:
    """Estimate the numbers that are saved by the tokens of picture and text, and the blocks."""
    config = transformer.config
    blocks = config.num_layers + config.num_single_layers
    return flow.saved(SAVED, blocks, transformer.inner_dim, places + TOKENS)
