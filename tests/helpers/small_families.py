"""A small random pipeline of every family, of the real classes, written as diffusers writes it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from helpers.small_model import save_once
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from cloakwork.files import ASSETS

SIDE = 64  # pixels, 8 latents


def vae(**settings: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        sample_size=SIDE,
        **settings,
    )


def clip(kind: Any, width: int) -> Any:
    return kind(
        CLIPTextConfig(
            vocab_size=1199,
            bos_token_id=1196,
            eos_token_id=1197,
            pad_token_id=1197,
            hidden_size=width,
            projection_dim=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=2,
        )
    )


def words() -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(ASSETS / "tiny" / "tokenizer")


def sdxl() -> Any:
    unet = UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 2),
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        cross_attention_dim=16 + 32,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=32 + 6 * 8,
        norm_num_groups=8,
    )
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing="leading",
    )
    return StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025),
        text_encoder=clip(CLIPTextModel, 16),
        text_encoder_2=clip(CLIPTextModelWithProjection, 32),
        tokenizer=words(),
        tokenizer_2=words(),
        unet=unet,
        scheduler=scheduler,
        add_watermarker=False,
    )


def t5() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=128,
            d_model=48,
            d_kv=8,
            d_ff=64,
            num_layers=1,
            num_heads=2,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
        )
    )


def letters() -> T5Tokenizer:
    """A T5's tokenizer that knows letters."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    return T5Tokenizer(special + [(chr(c), -3.0) for c in range(97, 123)], extra_ids=0)


def sd3() -> Any:
    transformer = SD3Transformer2DModel(
        sample_size=SIDE // 8,
        in_channels=8,
        out_channels=8,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        caption_projection_dim=32,
        pooled_projection_dim=16 + 24,
        pos_embed_max_size=16,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    return StableDiffusion3Pipeline(
        vae=vae(
            latent_channels=8,
            scaling_factor=1.5305,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=clip(CLIPTextModelWithProjection, 16),
        text_encoder_2=clip(CLIPTextModelWithProjection, 24),
        text_encoder_3=t5(),
        tokenizer=words(),
        tokenizer_2=words(),
        tokenizer_3=letters(),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def flux(*, told: bool = True) -> Any:
    """FLUX.1 dev; or schnell, which is not told a guidance and shifts nothing."""
    transformer = FluxTransformer2DModel(
        in_channels=4 * 8,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        pooled_projection_dim=16,
        guidance_embeds=told,
        axes_dims_rope=(4, 4, 8),
    )
    return FluxPipeline(
        vae=vae(
            latent_channels=8,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=clip(CLIPTextModel, 16),
        text_encoder_2=t5(),
        tokenizer=words(),
        tokenizer_2=letters(),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=told, shift=3.0 if told else 1.0
        ),
    )


FAMILIES: dict[str, Callable[[], Any]] = {"sdxl": sdxl, "sd3": sd3, "flux": flux}
KINDS = {**FAMILIES, "schnell": partial(flux, told=False)}


def save(name: str, folder: Path) -> Path:
    """Write the pipeline of a family, the same weights in every run.

    Several workers may call this at once: the first to finish is kept.
    """
    if folder.is_dir():
        return folder
    with torch.random.fork_rng():
        torch.manual_seed(0)  # noqa: TID251 (layers draw their weights from torch's own generator)
        pipe = KINDS[name]()
    return save_once(pipe, folder)
