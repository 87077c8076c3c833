"""A small random pipeline of every family, of the real classes, written as diffusers writes it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from helpers.small_model import save_once
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from cloakwork.files import ASSETS

SIDE = 64  # pixels, 8 latents


def vae(kind: Any = AutoencoderKL, **settings: Any) -> Any:
    return kind(
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


def euler(predicts: str = "epsilon") -> EulerDiscreteScheduler:
    return EulerDiscreteScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        timestep_spacing="leading",
        prediction_type=predicts,
    )


def stable_diffusion(predicts: str, **settings: Any) -> Any:
    unet = UNet2DConditionModel(
        sample_size=SIDE // 8,
        block_out_channels=(16, 32),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=16,
        norm_num_groups=8,
        **settings,
    )
    return StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip(CLIPTextModel, 16),
        tokenizer=words(),
        unet=unet,
        scheduler=euler(predicts),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


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
    return StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025),
        text_encoder=clip(CLIPTextModel, 16),
        text_encoder_2=clip(CLIPTextModelWithProjection, 32),
        tokenizer=words(),
        tokenizer_2=words(),
        unet=unet,
        scheduler=euler(),
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


def flux(*, told: bool = True, kind: Any = FluxPipeline) -> Any:
    """FLUX.1 dev; or schnell, which is not told a guidance and shifts nothing; or Kontext."""
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
    return kind(
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


SPOKEN = {  # of a language model
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
}
CHAT = """{% for message in messages -%}
<|im_start|>{{ message.role }}
{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if not enable_thinking %}<think>

</think>

{% endif %}{% endif %}"""


def spelling() -> Qwen2Tokenizer:
    """A Qwen's tokenizer that knows bytes, and puts one word together."""
    vocabulary = {c: i for i, c in enumerate(sorted(bytes_to_unicode().values()))}
    known = vocabulary | {"re": 256, "<|endoftext|>": 257}
    tokenizer = Qwen2Tokenizer(vocab=known, merges=[("r", "e")])
    marks = ["im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad"]
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<|{mark}|>" for mark in marks]})
    tokenizer.chat_template = CHAT
    return tokenizer


def qwen3(kind: Any, layers: int) -> Any:
    return kind(Qwen3Config(**SPOKEN, head_dim=8, num_hidden_layers=layers))


def flux2(*, distilled: bool = False) -> Any:
    """FLUX.2 klein; its prompts are the layers 9, 18 and 27."""
    autoencoder = vae(AutoencoderKLFlux2, latent_channels=4)
    autoencoder.bn.running_mean.normal_()  # fresh statistics would change nothing
    autoencoder.bn.running_var.uniform_(0.5, 2)
    transformer = Flux2Transformer2DModel(
        in_channels=4 * 4,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * 16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    return Flux2KleinPipeline(
        vae=autoencoder,
        text_encoder=qwen3(Qwen3ForCausalLM, 28),
        tokenizer=spelling(),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        is_distilled=distilled,
    )


def qwen2_5_vl() -> Qwen2_5_VLForConditionalGeneration:
    return Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config={
                **SPOKEN,
                "num_hidden_layers": 2,
                "rope_scaling": {"type": "mrope", "mrope_section": [2, 1, 1]},
            },
            vision_config={
                "depth": 1,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_heads": 2,
                "out_hidden_size": 16,
                "fullatt_block_indexes": [0],
            },
            vision_start_token_id=260,
            vision_end_token_id=261,
            image_token_id=262,
            video_token_id=263,
        )
    )


def qwen() -> Any:
    autoencoder: Any = AutoencoderKLQwenImage(
        base_dim=8,
        z_dim=4,
        num_res_blocks=1,
        latents_mean=[-0.75, 0.5, 0.25, 1.0],
        latents_std=[2.5, 1.25, 0.5, 2.0],
    )
    autoencoder.register_to_config(sample_size=SIDE)
    transformer = QwenImageTransformer2DModel(
        in_channels=4 * 4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 6, 6),
    )
    return QwenImagePipeline(
        vae=autoencoder,
        text_encoder=qwen2_5_vl(),
        tokenizer=spelling(),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
        ),
    )


def z_image() -> Any:
    transformer = ZImageTransformer2DModel(
        in_channels=8,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 6, 6],
        axes_lens=[600, 32, 32],
    )
    return ZImagePipeline(
        vae=vae(
            latent_channels=8,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=qwen3(Qwen3Model, 3),
        tokenizer=spelling(),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
    )


FAMILIES: dict[str, Callable[[], Any]] = {
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
    "flux2": flux2,
    "qwen": qwen,
    "z_image": z_image,
}
TWO = {"attention_head_dim": (2, 4), "use_linear_projection": True}
# of Stable Diffusion's first family, of which the fixture `small` is too
FIRST = {
    "sd1": partial(stable_diffusion, "epsilon", attention_head_dim=2),
    "sd2": partial(stable_diffusion, "v_prediction", **TWO),
}
KINDS = {
    **FAMILIES,
    **FIRST,
    "schnell": partial(flux, told=False),
    "klein": partial(flux2, distilled=True),
    "kontext": partial(flux, kind=FluxKontextPipeline),
    "qwen_edit": qwen,
}


def save(name: str, folder: Path) -> Path:
    """Write the pipeline of a family, the same weights in every run.

    Several workers may call this at once: the first to finish is kept.
    """
    if folder.is_dir():
        return folder
    with torch.random.fork_rng():
        torch.manual_seed(0)  # noqa: TID251 (layers draw their weights from torch's own generator)
        pipe = KINDS[name]()
    return save_once(_Editor(pipe) if name == "qwen_edit" else pipe, folder)


class _Editor:
    """A Qwen-Image that is saved as an editor, with what makes pictures its text encoder's.

    transformers makes no whole Qwen2VLProcessor without torchvision, which its videos take.
    """

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    def save_pretrained(self, folder: Path) -> None:
        self.pipe.save_pretrained(folder)
        for part in (Qwen2VLImageProcessor(), self.pipe.tokenizer):
            part.save_pretrained(folder / "processor")
        file = folder / "model_index.json"
        own = {
            "_class_name": "QwenImageEditPipeline",
            "processor": ["transformers", "Qwen2VLProcessor"],
        }
        file.write_text(json.dumps(json.loads(file.read_text()) | own))
