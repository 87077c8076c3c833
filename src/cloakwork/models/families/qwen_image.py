"""Qwen-Image: a transformer that matches flows, and reads the last layer of a language model.

Latents are packed, 2 x 2 places to a token. A prompt is described to a Qwen2.5-VL, and has as many
tokens as it takes. Guidance is done in two passes, and what is predicted gets the length back that
the text's own prediction has at each token, as in the pipeline (its true_cfg_scale, with a negative
prompt, which may be empty). "Edit" is shown a picture: the Qwen2.5-VL sees it, and its tokens come
behind those that are denoised. Trained as in diffusers' train_dreambooth_lora_qwen_image.py (its
defaults): timesteps are uniform, and every one counts alike; the trainer encodes to a sample of the
posterior.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch.nn.functional as F
from torch import Tensor, nn

from cloakwork.models.families import flow, flux, language, stable_diffusion
from cloakwork.models.text import Text
from cloakwork.photos.tensors import to_pil
from cloakwork.types import Images

if TYPE_CHECKING:
    from cloakwork.models.ldm import LDM

NAME = "Qwen-Image"
PIPELINE = "QwenImagePipeline"
PARTS = {
    "vae": ("AutoencoderKLQwenImage",),
    "transformer": ("QwenImageTransformer2DModel",),
    "text_encoder": ("Qwen2_5_VLForConditionalGeneration",),
}
DENOISER = "transformer"
LEARNERS = ()
PREDICTS = flow.PREDICTS
OPTIONS: dict[str, Any] = {}
ATTENTION = flow.ATTENTION
OTHERS = [f"{part}.net.{layer}" for part in ("img_mlp", "txt_mlp") for layer in ("0.proj", "2")]
TOKENS = 512
# what a prompt is asked in, and how many of its first tokens are not the prompt's
ASKED = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, "
    "quantity, text, spatial relationships of the objects and background:<|im_end|>\n"
    "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
BEFORE = 34
# the same with a picture, whose tokens stand in the first gap
INSTRUCTED = (
    "<|im_start|>system\nDescribe the key features of the input image (color, shape, size, "
    "texture, objects, background), then explain how the user's text instruction should alter or "
    "modify the image. Generate a new image that meets the user's requirements while maintaining "
    "consistency with the original input where appropriate.<|im_end|>\n"
    "<|im_start|>user\n<|vision_start|>{}<|vision_end|>{}<|im_end|>\n<|im_start|>assistant\n"
)
BEFORE_INSTRUCTED = 64
TOKEN_OF_PICTURE = "<|image_pad|>"
PATCH = flux.PATCH
SAVED = 13  # numbers that a block saves, each token and width; see flow.saved

prepare = stable_diffusion.prepare
unconditional = stable_diffusion.unconditional
weigh = stable_diffusion.weigh
timesteps = flux.timesteps
schedule = flux.schedule
side = flux.side
channels = flux.channels
multiple = flux.multiple


def embed(ldm: LDM, prompts: Sequence[str]) -> Text:
    """Embed prompts as the last hidden states of their own tokens."""
    most = BEFORE + TOKENS
    states = [language.read(ldm, ASKED.format(prompt), most)[-1] for prompt in prompts]
    return language.ragged([one[:, BEFORE:] for one in states])


def instructed(ldm: LDM, prompts: Sequence[str], x: Images, z: Tensor) -> Text:
    """Embed prompts as the hidden states of their own tokens and those of the pictures that the
    language model sees, in 8 bits, beside the pictures' latents.
    """
    from transformers import Qwen2VLImageProcessor

    look: Any = Qwen2VLImageProcessor.from_pretrained(str(ldm.processor))
    states = []
    for prompt, picture in zip(prompts, x, strict=True):
        seen = look(images=to_pil(picture), return_tensors="pt")
        tokens = int(seen["image_grid_thw"].prod()) // look.merge_size**2
        words = INSTRUCTED.format(TOKEN_OF_PICTURE * tokens, prompt)
        states.append(language.read(ldm, words, **seen)[-1][:, BEFORE_INSTRUCTED:])
    return replace(language.ragged(states), reference=z)


EDITORS = {"QwenImageEditPipeline": instructed}


def guide(held: Tensor, free: Tensor, scale: float) -> Tensor:
    """Return the text's prediction, led away from the other, as long as it was at each token."""
    led = stable_diffusion.guide(held, free, scale)
    long, now = (F.pixel_unshuffle(x, PATCH).norm(dim=1, keepdim=True) for x in (held, led))
    return led * F.interpolate(long / now, scale_factor=PATCH, mode="nearest")


def denoise(ldm: LDM, z_t: Tensor, t: Tensor, c: Text) -> Tensor:
    """Predict by the transformer, on packed latents."""
    pictures = [z_t] if c.reference is None else [z_t, c.reference]
    packed = [F.pixel_unshuffle(z, PATCH) for z in pictures]
    out = ldm.denoiser(
        hidden_states=flow.tokens(packed),
        timestep=t.expand(len(z_t)) / ldm.scheduler.config.num_train_timesteps,
        encoder_hidden_states=c.hidden,
        encoder_hidden_states_mask=c.own(),
        img_shapes=[[(1, *z.shape[-2:]) for z in packed]] * len(z_t),
    ).sample
    return F.pixel_shuffle(flow.picture(out, packed[0]), PATCH)


def features(transformer: Any) -> Sequence[nn.Module]:
    """Return the feed-forward layers of the picture's tokens in the last quarter of the blocks."""
    return flow.last_quarter([block.img_mlp for block in transformer.transformer_blocks])


def saved(transformer: Any, places: int) -> int:
    """Estimate the numbers that are saved by the tokens of picture and text, and the blocks."""
    tokens = places // PATCH**2 + TOKENS
    return flow.saved(SAVED, transformer.config.num_layers, transformer.inner_dim, tokens)
