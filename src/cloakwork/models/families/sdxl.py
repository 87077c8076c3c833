"""Stable Diffusion XL: a larger UNet that reads two CLIPs' last but one hidden states.

It is told the second CLIP's pooled prompt too, and three sizes: the picture's before it was cut,
where it was cut, and its own (Podell et al., arXiv 2307.01952). Here a picture was never cut, so
both sizes are its own; diffusers' trainer tells the size of the file that a picture was cut from
(train_dreambooth_lora_sdxl.py), which a denoising error of the picture alone does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from cloakwork.models.families import stable_diffusion
from cloakwork.models.families.family import Instruct, token_ids
from cloakwork.models.text import Text

if TYPE_CHECKING:
    from cloakwork.models.ldm import LDM

NAME = "Stable Diffusion XL"
PIPELINE = "StableDiffusionXLPipeline"
EDITORS: Mapping[str, Instruct] = {}
PARTS = {
    "vae": ("AutoencoderKL", "AutoencoderTiny"),
    "unet": ("UNet2DConditionModel",),
    "text_encoder": ("CLIPTextModel",),
    "text_encoder_2": ("CLIPTextModelWithProjection",),
}
DENOISER = "unet"
LEARNERS = ("text_encoder", "text_encoder_2")
PREDICTS = ("epsilon", "v_prediction")
OPTIONS = {"image_encoder": None, "feature_extractor": None, "add_watermarker": False}
ATTENTION = stable_diffusion.ATTENTION
OTHERS = stable_diffusion.OTHERS

prepare = stable_diffusion.prepare
guide = stable_diffusion.guide
timesteps = stable_diffusion.timesteps
weigh = stable_diffusion.weigh
schedule = stable_diffusion.schedule
side = stable_diffusion.side
channels = stable_diffusion.channels
multiple = stable_diffusion.multiple
features = stable_diffusion.features


def embed(ldm: LDM, prompts: Sequence[str]) -> Text:
    """Embed prompts by both CLIPs, side by side."""
    one, two = (
        encoder(token_ids(ldm, tokenizer, prompts), output_hidden_states=True)
        for tokenizer, encoder in (
            (ldm.tokenizer, ldm.text_encoder),
            (ldm.tokenizer_2, ldm.text_encoder_2),
        )
    )
    hidden = torch.cat([one.hidden_states[-2], two.hidden_states[-2]], -1)
    return Text(hidden.float(), two.text_embeds.float())


def unconditional(ldm: LDM, negative: str) -> Text:
    """Embed the negative prompt; without one it is zeros, unless the pipeline says otherwise."""
    text = ldm.embed([negative])
    return text.zeros() if ldm.zero_negative and not negative else text


def denoise(ldm: LDM, z_t: Tensor, t: Tensor, c: Text) -> Tensor:
    """Predict by the UNet, for pictures that were never cut."""
    height, width = (places * ldm.scale for places in z_t.shape[-2:])
    sizes = c.hidden.new_zeros(len(c), 6)  # height and width before, top and left, height and width
    sizes[:, 0::4], sizes[:, 1::4] = height, width
    return ldm.denoiser(
        z_t,
        t,
        encoder_hidden_states=c.hidden,
        added_cond_kwargs={"text_embeds": c.pooled, "time_ids": sizes},
    ).sample


def saved(unet: Any, places: int) -> int:
    """Estimate the numbers that are saved by the channels of the first level.

    They are more than Stable Diffusion 1's, for deeper levels have more layers. Counted at 512 and
    1024 px.
    """
    return 560 * places * unet.config.block_out_channels[0]
