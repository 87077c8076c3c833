"""Models in one file, under the names that their first releases have."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

DENOISER = "model.diffusion_model."
Names = Iterable[tuple[str, str]]

IN_RESNETS: Names = [
    (r"\bnorm1\b", "in_layers.0"),
    (r"\bconv1\b", "in_layers.2"),
    (r"\btime_emb_proj\b", "emb_layers.1"),
    (r"\bnorm2\b", "out_layers.0"),
    (r"\bconv2\b", "out_layers.3"),
    (r"\bconv_shortcut\b", "skip_connection"),
]
AROUND_BLOCKS: Names = [
    (r"^time_embedding\.linear_1", "time_embed.0"),
    (r"^time_embedding\.linear_2", "time_embed.2"),
    (r"^add_embedding\.linear_1", "label_emb.0.0"),
    (r"^add_embedding\.linear_2", "label_emb.0.2"),
    (r"^conv_in", "input_blocks.0.0"),
    (r"^conv_norm_out", "out.0"),
    (r"^conv_out", "out.2"),
    (r"^mid_block\.resnets\.0", "middle_block.0"),
    (r"^mid_block\.attentions\.0", "middle_block.1"),
    (r"^mid_block\.resnets\.1", "middle_block.2"),
]
IN_VAE: Names = [
    (r"down_blocks\.(\d+)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"conv_norm_out", "norm_out"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"group_norm", "norm"),
    (r"to_([qkv])\.", r"\1."),
    (r"to_out\.0", "proj_out"),
]
IN_OPEN_CLIP: Names = [
    (r"^encoder\.layers", "transformer.resblocks"),
    (r"\blayer_norm", "ln_"),
    (r"fc1", "c_fc"),
    (r"fc2", "c_proj"),
    (r"self_attn", "attn"),
    (r"^final_layer_norm", "ln_final"),
    (r"^embeddings\.token_embedding", "token_embedding"),
    (r"^embeddings\.position_embedding\.weight", "positional_embedding"),
]


def renamed(name: str, names: Names) -> str:
    for old, new in names:
        name = re.sub(old, new, name)
    return name


def unet(model: Any) -> dict[str, Tensor]:
    """A UNet's blocks are numbered through, and so are the layers in each."""
    of_level = model.config.layers_per_block + 1
    attends = ["CrossAttn" in kind for kind in model.config.up_block_types]

    def place(match: re.Match[str]) -> str:
        way, level, kind, layer = match[1], int(match[2]), match[3], int(match[4])
        if way == "down":
            if kind == "downsamplers":
                return f"input_blocks.{of_level * (level + 1)}.0.op"
            return f"input_blocks.{1 + of_level * level + layer}.{int(kind == 'attentions')}"
        if kind == "upsamplers":
            return f"output_blocks.{of_level * (level + 1) - 1}.{1 + attends[level]}.conv"
        return f"output_blocks.{of_level * level + layer}.{int(kind == 'attentions')}"

    tensors = {}
    for name, tensor in model.state_dict().items():
        if ".resnets." in name:
            name = renamed(name, IN_RESNETS)
        name = renamed(name, AROUND_BLOCKS)
        block = r"(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)"
        name = re.sub(block + r"(?:(?<=samplers\.0)\.conv)?", place, name)
        tensors[DENOISER + name] = tensor
    return tensors


def vae(model: Any) -> dict[str, Tensor]:
    """The decoder counts its levels from the other end; attention is made of convolutions."""
    last, tensors = len(model.config.block_out_channels) - 1, {}
    for name, tensor in model.state_dict().items():
        if ".attentions." in name and tensor.ndim == 2:
            tensor = tensor[..., None, None]
        name = renamed(name, IN_VAE)
        name = re.sub(r"up_blocks\.(\d+)\.", lambda m: f"up.{last - int(m[1])}.", name)
        name = name.replace("resnets", "block").replace("upsamplers.0", "upsample")
        tensors[f"first_stage_model.{name}"] = tensor
    return tensors


def clip(model: Any, prefix: str) -> dict[str, Tensor]:
    tensors = {}
    for name, tensor in model.state_dict().items():
        own = name.startswith(("text_model.", "text_projection."))
        tensors[f"{prefix}{name if own else f'text_model.{name}'}"] = tensor
    return tensors


def open_clip(model: Any, prefix: str) -> dict[str, Tensor]:
    """Queries, keys and values are one matrix; the projection is turned."""
    state = {name.removeprefix("text_model."): t for name, t in model.state_dict().items()}
    tensors = {}
    for name in [name for name in state if ".q_proj." in name]:
        whole = torch.cat([state.pop(name.replace("q_proj", f"{part}_proj")) for part in "qkv"])
        tensors[name.replace("q_proj.", "in_proj_")] = whole
    width = model.config.hidden_size
    projection = state.pop("text_projection.weight", torch.zeros(width, width))
    tensors |= {"text_projection": projection.T.contiguous(), **state}
    return {prefix + renamed(name, IN_OPEN_CLIP): t for name, t in tensors.items()}


def sd1(pipe: Any) -> dict[str, Tensor]:
    text = clip(pipe.text_encoder, "cond_stage_model.transformer.")
    return unet(pipe.unet) | vae(pipe.vae) | text


def sd2(pipe: Any) -> dict[str, Tensor]:
    text = open_clip(pipe.text_encoder, "cond_stage_model.model.")
    return unet(pipe.unet) | vae(pipe.vae) | text


def sdxl(pipe: Any) -> dict[str, Tensor]:
    one = clip(pipe.text_encoder, "conditioner.embedders.0.transformer.")
    two = open_clip(pipe.text_encoder_2, "conditioner.embedders.1.model.")
    return unet(pipe.unet) | vae(pipe.vae) | one | two


LAYOUTS = {"sd1": sd1, "sd2": sd2, "sdxl": sdxl}


def write(tensors: dict[str, Tensor], file: Path, **metadata: str) -> Path:
    save_file({name: t.contiguous() for name, t in tensors.items()}, file, metadata or None)
    return file


def without_weights(folder: Path, to: Path) -> Path:
    """Copy a pipeline's configs and tokenizers."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.safetensors"))
    return to
