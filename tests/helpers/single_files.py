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
    return tensors | {f"{prefix}text_model.embeddings.position_ids": torch.arange(77)[None]}


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
    tensors["logit_scale"] = torch.zeros(())
    return {prefix + renamed(name, IN_OPEN_CLIP): t for name, t in tensors.items()}


def sd1(pipe: Any) -> dict[str, Tensor]:
    text = clip(pipe.text_encoder, "cond_stage_model.transformer.")
    more = {"alphas_cumprod": torch.zeros(1000), "model_ema.decay": torch.zeros(())}
    return unet(pipe.unet) | vae(pipe.vae) | text | more


def sd2(pipe: Any) -> dict[str, Tensor]:
    text = open_clip(pipe.text_encoder, "cond_stage_model.model.")
    return unet(pipe.unet) | vae(pipe.vae) | text


def sdxl(pipe: Any) -> dict[str, Tensor]:
    one = clip(pipe.text_encoder, "conditioner.embedders.0.transformer.")
    two = open_clip(pipe.text_encoder_2, "conditioner.embedders.1.model.")
    return unet(pipe.unet) | vae(pipe.vae) | one | two


def t5(model: Any) -> dict[str, Tensor]:
    state = {k: t for k, t in model.state_dict().items() if k != "encoder.embed_tokens.weight"}
    tensors = {f"text_encoders.t5xxl.transformer.{name}": t for name, t in state.items()}
    return tensors | {"text_encoders.t5xxl.logit_scale": torch.zeros(())}


def fused(state: dict[str, Tensor], names: Names) -> dict[str, Tensor]:
    """Join layers one above the other; names: their first, with the ends of all, -> the new one."""
    for ends, new in names:
        inside, *layers = ends.split(" ")
        first = re.compile(rf"(.*){re.escape(inside + layers[0])}\.(weight|bias)$")
        for match in [m for name in state if (m := first.match(name))]:
            start, end = match.groups()
            parts = [state.pop(f"{start}{inside}{layer}.{end}") for layer in layers]
            state[f"{start}{new}.{end}"] = torch.cat(parts)
    return state


def swapped(tensor: Tensor) -> Tensor:
    """diffusers has the scale before the shift."""
    scale, shift = tensor.chunk(2)
    return torch.cat([shift, scale])


SD3_JOINED: Names = [
    ("attn2. to_q to_k to_v", "x_block.attn2.qkv"),
    ("attn. to_q to_k to_v", "x_block.attn.qkv"),
    ("attn. add_q_proj add_k_proj add_v_proj", "context_block.attn.qkv"),
]
SD3: Names = [
    (r"^pos_embed\.pos_embed", "pos_embed"),
    (r"^pos_embed\.proj", "x_embedder.proj"),
    (r"^time_text_embed\.timestep_embedder\.linear_1", "t_embedder.mlp.0"),
    (r"^time_text_embed\.timestep_embedder\.linear_2", "t_embedder.mlp.2"),
    (r"^time_text_embed\.text_embedder\.linear_1", "y_embedder.mlp.0"),
    (r"^time_text_embed\.text_embedder\.linear_2", "y_embedder.mlp.2"),
    (r"^proj_out", "final_layer.linear"),
    (r"^norm_out\.linear", "final_layer.adaLN_modulation.1"),
    (r"^transformer_blocks", "joint_blocks"),
    (r"\.(attn2?)\.norm_([qk])", r".x_block.\1.ln_\2"),
    (r"\.attn\.norm_added_([qk])", r".context_block.attn.ln_\1"),
    (r"\.(attn2?)\.to_out\.0", r".x_block.\1.proj"),
    (r"\.attn\.to_add_out", ".context_block.attn.proj"),
    (r"\.norm1\.linear", ".x_block.adaLN_modulation.1"),
    (r"\.norm1_context\.linear", ".context_block.adaLN_modulation.1"),
    (r"\.ff\.net\.0\.proj", ".x_block.mlp.fc1"),
    (r"\.ff\.net\.2", ".x_block.mlp.fc2"),
    (r"\.ff_context\.net\.0\.proj", ".context_block.mlp.fc1"),
    (r"\.ff_context\.net\.2", ".context_block.mlp.fc2"),
]
FLUX_JOINED: Names = [
    ("attn. to_q to_k to_v", "img_attn.qkv"),
    ("attn. add_q_proj add_k_proj add_v_proj", "txt_attn.qkv"),
]
FLUX: Names = [
    (r"^time_text_embed\.timestep_embedder", "time_in"),
    (r"^time_text_embed\.text_embedder", "vector_in"),
    (r"^time_text_embed\.guidance_embedder", "guidance_in"),
    (r"_in\.linear_1", "_in.in_layer"),
    (r"_in\.linear_2", "_in.out_layer"),
    (r"^context_embedder", "txt_in"),
    (r"^x_embedder", "img_in"),
    (r"^proj_out", "final_layer.linear"),
    (r"^norm_out\.linear", "final_layer.adaLN_modulation.1"),
    (r"^(single_blocks\.\d+)\.norm\.linear", r"\1.modulation.lin"),
    (r"^(single_blocks\.\d+)\.attn\.norm_q\.weight", r"\1.norm.query_norm.scale"),
    (r"^(single_blocks\.\d+)\.attn\.norm_k\.weight", r"\1.norm.key_norm.scale"),
    (r"^(single_blocks\.\d+)\.proj_out", r"\1.linear2"),
    (r"^transformer_blocks", "double_blocks"),
    (r"\.norm1\.linear", ".img_mod.lin"),
    (r"\.norm1_context\.linear", ".txt_mod.lin"),
    (r"\.attn\.norm_q\.weight", ".img_attn.norm.query_norm.scale"),
    (r"\.attn\.norm_k\.weight", ".img_attn.norm.key_norm.scale"),
    (r"\.attn\.norm_added_q\.weight", ".txt_attn.norm.query_norm.scale"),
    (r"\.attn\.norm_added_k\.weight", ".txt_attn.norm.key_norm.scale"),
    (r"\.attn\.to_out\.0", ".img_attn.proj"),
    (r"\.attn\.to_add_out", ".txt_attn.proj"),
    (r"\.ff\.net\.0\.proj", ".img_mlp.0"),
    (r"\.ff\.net\.2", ".img_mlp.2"),
    (r"\.ff_context\.net\.0\.proj", ".txt_mlp.0"),
    (r"\.ff_context\.net\.2", ".txt_mlp.2"),
]


def sd3(pipe: Any) -> dict[str, Tensor]:
    last = f"transformer_blocks.{pipe.transformer.config.num_layers - 1}.norm1_context.linear"
    turned = {
        k: swapped(t) if k.startswith((last, "norm_out.linear")) else t
        for k, t in pipe.transformer.state_dict().items()
    }
    of = {renamed(k, SD3): t for k, t in fused(turned, SD3_JOINED).items()}
    clips = clip(pipe.text_encoder, "text_encoders.clip_l.transformer.")
    clips |= clip(pipe.text_encoder_2, "text_encoders.clip_g.transformer.")
    denoiser = {DENOISER + name: tensor for name, tensor in of.items()}
    return denoiser | vae(pipe.vae) | clips | t5(pipe.text_encoder_3)


def flux(pipe: Any) -> dict[str, Tensor]:
    """The transformer alone, as it was published."""
    state = {
        re.sub(r"^single_transformer_blocks(\.\d+)", r"single_blocks\1", name): tensor
        for name, tensor in pipe.transformer.state_dict().items()
    }
    single = {
        re.sub(r"\.attn\.(?=to_)", ".", name): state.pop(name)
        for name in [*state]
        if name.startswith("single_blocks.")
    }
    joined = fused(single, [(" to_q to_k to_v proj_mlp", "linear1")])
    joined |= fused(state, FLUX_JOINED)
    turned = {k: swapped(t) if k.startswith("norm_out.linear") else t for k, t in joined.items()}
    return {renamed(name, FLUX): tensor for name, tensor in turned.items()}


def flux_whole(pipe: Any) -> dict[str, Tensor]:
    """All parts in one, as web UIs keep it."""
    of = {DENOISER + name: tensor for name, tensor in flux(pipe).items()}
    of |= {k.replace("first_stage_model.", "vae."): t for k, t in vae(pipe.vae).items()}
    of |= clip(pipe.text_encoder, "text_encoders.clip_l.transformer.")
    return of | t5(pipe.text_encoder_2)


LAYOUTS = {
    "sd1": sd1,
    "sd2": sd2,
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux_whole,
    "schnell": flux_whole,
}


def write(tensors: dict[str, Tensor], file: Path, **metadata: str) -> Path:
    save_file({name: t.contiguous() for name, t in tensors.items()}, file, metadata or None)
    return file


def without_weights(folder: Path, to: Path) -> Path:
    """Copy a pipeline's configs and tokenizers."""
    shutil.copytree(folder, to, ignore=shutil.ignore_patterns("*.safetensors"))
    return to
