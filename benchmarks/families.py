"""What whole models of every family take at their real sizes: weights, FLOPs, memory.

Run: python benchmarks/families.py [--file results/families.json]

Everything is counted on meta tensors, which have shapes and no numbers. `python benchmarks/docs.py`
makes a table of it in docs/models.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from flops import META, count, on_meta
from torch import Tensor, nn

from cloakwork.files import write_json
from cloakwork.models import latents
from cloakwork.models.counting import graph_kept
from cloakwork.models.families import flux, flux2, qwen_image, sd3, sdxl, stable_diffusion, z_image
from cloakwork.models.ldm import LDM
from cloakwork.models.text import Text
from cloakwork.perturbation import losses
from cloakwork.photos.preprocessing import Preprocessing

SIZES = (512, 1024)
LEVELS = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": 4 * ("DownEncoderBlock2D",),
    "up_block_types": 4 * ("UpDecoderBlock2D",),
    "layers_per_block": 2,
}
PLAIN = {"latent_channels": 16, "use_quant_conv": False, "use_post_quant_conv": False}
# as the pipelines' own configs have them
UNET_XL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
MEDIUM = {
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
    "pos_embed_max_size": 384,
    "qk_norm": "rms_norm",
    "dual_attention_layers": tuple(range(13)),
}
LARGE = {
    "num_layers": 38,
    "num_attention_heads": 38,
    "caption_projection_dim": 2432,
    "pos_embed_max_size": 192,
    "qk_norm": "rms_norm",
}
CLIP_L = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
CLIP_G = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}
T5 = {
    "vocab_size": 32128,
    "d_model": 4096,
    "d_kv": 64,
    "d_ff": 10240,
    "num_layers": 24,
    "num_heads": 64,
    "feed_forward_proj": "gated-gelu",
    "is_encoder_decoder": False,
}


QWEN_3_4B = {
    "vocab_size": 151936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}
QWEN_3_8B = QWEN_3_4B | {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "tie_word_embeddings": False,
}
QWEN_2_5_VL_7B = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
}
SEEN = {"hidden_size": 1280, "intermediate_size": 3420, "out_hidden_size": 3584}
KLEIN = {"attention_head_dim": 128, "guidance_embeds": False}
KLEIN_4B = KLEIN | {
    "num_layers": 5,
    "num_single_layers": 20,
    "num_attention_heads": 24,
    "joint_attention_dim": 7680,
}
KLEIN_9B = KLEIN | {
    "num_layers": 8,
    "num_single_layers": 24,
    "num_attention_heads": 32,
    "joint_attention_dim": 12288,
}
WORDS = 30  # of a prompt with its chat, tokens, where a family does not fill it up


class Tokenizer:
    """Makes as many tokens of a prompt as it is filled up to, else what few words take."""

    model_max_length = 77

    def get_added_vocab(self) -> dict[str, int]:
        return {}

    def apply_chat_template(self, *_: Any, **__: Any) -> str:
        return ""

    def __call__(
        self, prompts: list[str], padding: str = "", max_length: int = 0, **_: Any
    ) -> SimpleNamespace:
        before = qwen_image.BEFORE if max_length > flux2.TOKENS else 0
        length = max_length if padding == "max_length" else before + WORDS
        ids = torch.ones(len(prompts), length, dtype=torch.long)
        return SimpleNamespace(input_ids=ids, attention_mask=ids)


def clip(settings: dict[str, Any], *, projected: bool = False) -> nn.Module:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kind: Any = CLIPTextModelWithProjection if projected else CLIPTextModel
    return kind(CLIPTextConfig(vocab_size=49408, **settings))


def build(name: str, size: int, device: torch.device = META) -> LDM:
    """A model of a family's real shapes and classes, in no memory unless a device is named, on
    squares of so many pixels."""
    with device:
        family, vae, denoiser, scheduler, readers = MODELS[name]()
    for part in (vae, denoiser, *readers):
        part.eval().requires_grad_(False)
    first, second, third = (*readers, None, None)[:3]
    return LDM(
        name,
        vae,
        denoiser,
        first,
        Tokenizer(),
        scheduler,
        "",
        size,
        family=family,
        text_encoder_2=second,
        text_encoder_3=third,
        tokenizer_2=Tokenizer(),
        tokenizer_3=Tokenizer(),
    )


def stable_diffusion_1() -> tuple[Any, ...]:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

    unet: Any = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    return stable_diffusion, AutoencoderKL(**LEVELS), unet, DDPMScheduler(), [clip(CLIP_L)]


def stable_diffusion_xl() -> tuple[Any, ...]:
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel

    unet: Any = UNet2DConditionModel(**UNET_XL)
    readers = [clip(CLIP_L), clip(CLIP_G, projected=True)]
    return sdxl, AutoencoderKL(**LEVELS), unet, DDPMScheduler(), readers


def stable_diffusion_3(shapes: dict[str, Any]) -> tuple[Any, ...]:
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
    from transformers import T5Config, T5EncoderModel

    readers = [clip(CLIP_L, projected=True), clip(CLIP_G, projected=True)]
    return (
        sd3,
        AutoencoderKL(**LEVELS, **PLAIN),
        SD3Transformer2DModel(joint_attention_dim=4096, pooled_projection_dim=2048, **shapes),
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        [*readers, T5EncoderModel(T5Config(**T5))],
    )


def flux_1() -> tuple[Any, ...]:
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel
    from transformers import T5Config, T5EncoderModel

    return (
        flux,
        AutoencoderKL(**LEVELS, **PLAIN),
        FluxTransformer2DModel(guidance_embeds=True),
        FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        [clip(CLIP_L), T5EncoderModel(T5Config(**T5))],
    )


def flux_2(shapes: dict[str, Any], spoken: dict[str, Any]) -> tuple[Any, ...]:
    from diffusers import (
        AutoencoderKLFlux2,
        FlowMatchEulerDiscreteScheduler,
        Flux2Transformer2DModel,
    )
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return (
        flux2,
        AutoencoderKLFlux2(),
        Flux2Transformer2DModel(**shapes),
        FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
        [Qwen3ForCausalLM(Qwen3Config(**spoken))],
    )


def qwen() -> tuple[Any, ...]:
    from diffusers import (
        AutoencoderKLQwenImage,
        FlowMatchEulerDiscreteScheduler,
        QwenImageTransformer2DModel,
    )
    from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

    spoken = Qwen2_5_VLConfig(text_config=QWEN_2_5_VL_7B, vision_config=SEEN)
    return (
        qwen_image,
        AutoencoderKLQwenImage(),
        QwenImageTransformer2DModel(),
        FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        [Qwen2_5_VLForConditionalGeneration(spoken)],
    )


def z_image_turbo() -> tuple[Any, ...]:
    from diffusers import (
        AutoencoderKL,
        FlowMatchEulerDiscreteScheduler,
        ZImageTransformer2DModel,
    )
    from transformers import Qwen3Config, Qwen3Model

    return (
        z_image,
        AutoencoderKL(**LEVELS, **PLAIN),
        ZImageTransformer2DModel(),
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        [Qwen3Model(Qwen3Config(**QWEN_3_4B))],
    )


MODELS: dict[str, Callable[[], tuple[Any, ...]]] = {
    "Stable Diffusion 1.5": stable_diffusion_1,
    "Stable Diffusion XL": stable_diffusion_xl,
    "Stable Diffusion 3.5 medium": lambda: stable_diffusion_3(MEDIUM),
    "Stable Diffusion 3.5 large": lambda: stable_diffusion_3(LARGE),
    "FLUX.1 dev": flux_1,
    "FLUX.2 klein 4B": lambda: flux_2(KLEIN_4B, QWEN_3_4B),
    "FLUX.2 klein 9B": lambda: flux_2(KLEIN_9B, QWEN_3_8B),
    "Qwen-Image": qwen,
    "Z-Image": z_image_turbo,
}


def parameters(*parts: nn.Module) -> int:
    return sum(p.numel() for part in parts for p in part.parameters())


def told(ldm: LDM) -> Text:
    """A prompt's text, of the shape that the family's own embedding gives."""
    with on_meta(), torch.no_grad():
        return ldm.family.embed(ldm, ["a photo"])


attention = F.scaled_dot_product_attention


def fused(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **how: Any
) -> Tensor:
    """Attention that keeps no maps, as on a CPU and a GPU; on meta tensors torch's own does."""
    if query.device != META:
        return attention(query, key, value, attn_mask, **how)
    assert not how.pop("enable_gqa", False)
    mask = attn_mask if attn_mask is None else attn_mask.to(query.dtype)
    attend = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return attend(query, key, value, attn_mask=mask, **how)[0]


def kept(network: nn.Module, compute: Callable[[], Tensor]) -> int:
    """Bytes that a network keeps for its backward, beside its weights; fused attention's."""
    with patch.object(F, "scaled_dot_product_attention", fused), graph_kept(network) as held:
        out = compute()
    assert out.grad_fn is not None
    return held()


def graphs(ldm: LDM, c: Text) -> dict[str, int]:
    """Bytes of one photo's graphs."""
    side = ldm.size // ldm.scale
    x = torch.rand(1, 3, ldm.size, ldm.size, device=META, requires_grad=True)
    z = torch.rand(1, latents.channels(ldm.vae), side, side, device=META, requires_grad=True)
    t = torch.full((1,), 500.0, device=META)
    with on_meta():
        return {
            "encoder_bytes": kept(ldm.vae, lambda: ldm.encode(x)),
            "denoiser_bytes": kept(ldm.denoiser, lambda: ldm.predict(z, t, c)),
            "denoiser_reckoned": 4 * ldm.family.saved(ldm.denoiser, side * side),
        }


def measure(name: str, size: int) -> dict[str, float]:
    """What one photo takes of a model at one size."""
    ldm = build(name, size)
    c, rng = told(ldm), torch.Generator().manual_seed(0)
    photo = torch.rand(3, size, size, device=META)
    side = size // ldm.scale
    z = torch.rand(1, latents.channels(ldm.vae), side, side, device=META)
    t = torch.full((1,), 500.0, device=META)
    with on_meta():
        step = losses.gradient(ldm, losses.denoising(ldm, c, rng), rng, loader=Preprocessing())
        flops = {
            "step_flops": count(lambda: step([photo], [0])),
            "picture_flops": count(lambda: ldm.predict(z, t, c)),
        }
    return {**flops, **graphs(ldm, c)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--file", type=Path, default=Path("results/families.json"))
    parser.add_argument("--only", nargs="*", default=list(MODELS))
    args = parser.parse_args()
    found: dict[str, Any] = {}
    for name in args.only:
        ldm = build(name, SIZES[0])
        found[name] = {
            "denoiser": parameters(ldm.denoiser),
            "text_encoders": parameters(*ldm.text_encoders.values()),
            "autoencoder": parameters(ldm.vae),
        } | {str(size): measure(name, size) for size in SIZES}
        print(name, found[name], flush=True)
    write_json(args.file, found)


if __name__ == "__main__":
    main()
