"""Custom Diffusion's cross-attention as diffusers computes it."""

from __future__ import annotations

from diffusers.models.attention_processor import CustomDiffusionAttnProcessor

from cloakwork.models.ldm import LDM


def as_diffusers_does(ldm: LDM) -> None:
    """Give the cross-attention diffusers' processor, on the very same keys and values."""
    for name, module in ldm.denoiser.named_modules():
        if name.endswith(".attn2"):
            processor = CustomDiffusionAttnProcessor(train_kv=False, train_q_out=False)
            processor.train_kv = True
            processor.to_k_custom_diffusion = module.to_k
            processor.to_v_custom_diffusion = module.to_v
            module.set_processor(processor)
