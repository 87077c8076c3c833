"""Parts of a model in a single file: diffusers' own converters make them of the file's weights."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from cloakwork.errors import UserError
from cloakwork.files import read_json
from cloakwork.models.file_layouts import (
    DENOISER,
    FIRST,
    FLUX,
    IS_QUANTISED,
    SD2,
    SD3,
    T5,
    Content,
)
from cloakwork.models.pretrained_parts import reading

V_SIDE = 96  # latents, the side of what Stable Diffusion 2 sees where it predicts v
FLUX_WIDTH = 3072  # the only one that diffusers' converter knows
HEAD = 64  # channels of a head of Stable Diffusion 3


def read_inside(content: Content, part: str) -> nn.Module:
    """Read a part with weights that is in the file, in fp32.

    Raises:
        UserError: weights are missing, or have other shapes than the config says.
    """
    config = content.config(part)
    with reading(f"{content.what(part)}, read by {config},"):
        try:
            made = _made(content, part, str(config.parent.parent))
            whole = not any(p.is_meta for p in made.parameters())
        except NotImplementedError:  # weights without values cannot be moved
            whole = False
        if not whole:
            raise UserError(
                f"{content.what(part)} lacks some of its weights, of those that {config} asks for; "
                "fetch or save the file again, or give its own config with --parts FOLDER."
            )
    return made


def _made(content: Content, part: str, configs: str) -> nn.Module:
    """Make a part of its weights, by the configs in a folder."""
    import diffusers
    import transformers

    kind, tensors = content.layout.family.PARTS[part][0], _tensors(content, part)
    where = {"config": configs, "subfolder": part, "local_files_only": True}
    if content.layout.prefixes[part] == T5:
        return _t5(tensors, Path(configs) / part)
    if part.startswith("text_encoder"):
        return _clip(getattr(transformers, str(kind)), tensors, where)
    if content.layout is FLUX and part == "transformer":
        tensors = _flux(tensors)
    of = getattr(diffusers, str(kind))
    return of.from_single_file(tensors, **where, **settings_of(content, part))


def _tensors(content: Content, part: str) -> dict[str, Tensor]:
    """Read the weights of a part, in fp32, under their names in the file."""
    prefix = content.layout.prefixes[part]
    with safe_open(Path(content.named.model).expanduser(), "pt") as opened:
        given = {k: opened.get_tensor(k) for k in content.shapes if k.startswith(prefix)}
    whole = [k for k, t in given.items() if not t.is_floating_point() and not k.endswith("_ids")]
    if whole:
        raise UserError(f"'{content.named.model}' is {IS_QUANTISED} ('{whole[0]}').")
    found = {name: given.pop(name).float() for name in [*given]}
    # early files of Stable Diffusion 1 have no text_model around the layers
    early = re.compile(r"^(cond_stage_model\.transformer)\.(?=embeddings|encoder|final_layer_norm)")
    return {early.sub(r"\1.text_model.", name): tensor for name, tensor in found.items()}


def settings_of(content: Content, part: str) -> dict[str, Any]:
    """Return what the shapes in the file say of a part, beside its config.

    Models of one kind that were published with several sizes have one known config.
    """
    known = content.knows(part)
    if part == "unet":
        sees_v = known and content.layout is SD2 and content.predicts == "v_prediction"
        # an inpainting model has more channels
        return {"in_channels": content.shapes[FIRST][1]} | (
            {"sample_size": V_SIDE} if sees_v else {}
        )
    if part != "transformer" or not known:
        return {}
    if content.layout is FLUX:
        channels = content.shape("img_in.weight")[1]
        return {"in_channels": channels, "guidance_embeds": content.is_told_guidance}
    if content.layout is SD3:
        return sizes_of_sd3(content)
    return {}


def sizes_of_sd3(content: Content) -> dict[str, Any]:
    """Return in what Stable Diffusion 3, 3.5 medium and 3.5 large differ."""
    numbers = [re.search(r"joint_blocks\.(\d+)\.(x_block\.attn2)?", key) for key in content.shapes]
    blocks = {int(match[1]) for match in numbers if match}
    dual = {int(match[1]) for match in numbers if match and match[2]}
    width = content.shape("joint_blocks.0.x_block.attn.proj.weight")[0]
    norm = content.shape("joint_blocks.0.x_block.attn.ln_q.weight")
    return {
        "num_layers": len(blocks),
        "dual_attention_layers": tuple(sorted(dual)),
        "num_attention_heads": width // HEAD,
        "caption_projection_dim": width,
        "qk_norm": "rms_norm" if norm else None,
        "pos_embed_max_size": math.isqrt(content.shape("pos_embed")[1]),
    }


def _clip(kind: Any, tensors: dict[str, Tensor], where: dict[str, Any]) -> nn.Module:
    """Make a CLIP's text encoder.

    diffusers takes the first CLIP of Stable Diffusion 3 to have no projection; some files have it.
    """
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm

    made = create_diffusers_clip_model_from_ldm(kind, tensors, **where)
    own = [t for name, t in tensors.items() if name.endswith("transformer.text_projection.weight")]
    if own and hasattr(made, "text_projection"):
        made.text_projection.weight = nn.Parameter(own[0])
    return made


def _t5(tensors: dict[str, Tensor], folder: Path) -> nn.Module:
    """Make a T5's encoder; its layers have the same names in the file."""
    from transformers import T5Config, T5EncoderModel

    with torch.device("meta"):
        made = T5EncoderModel(T5Config.from_dict(read_json(folder / "config.json")))
    state = {name.removeprefix(f"{T5}transformer."): tensor for name, tensor in tensors.items()}
    words = "encoder.embed_tokens.weight", "shared.weight"  # one matrix, under either name
    given = next((state[name] for name in words if name in state), None)
    state |= {} if given is None else dict.fromkeys(words, given)
    made.load_state_dict(state, strict=False, assign=True)
    made.set_input_embeddings(made.shared)
    return made.eval()


def _flux(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a FLUX.1 under diffusers' names.

    Its converter takes every model to be as wide as the published ones, which counts where a layer
    of a single block is taken apart: there it is given a layer without values, and its results are
    replaced.
    """
    from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers

    tensors = {name.removeprefix(DENOISER): tensor for name, tensor in tensors.items()}
    fused = {k: t for k, t in tensors.items() if re.match(r"single_blocks\.\d+\.linear1\.", k)}
    empty = torch.empty(7 * FLUX_WIDTH, 1, device="meta")
    made = convert_flux_transformer_checkpoint_to_diffusers(tensors | dict.fromkeys(fused, empty))
    for name, tensor in fused.items():
        _, block, _, end = name.split(".")
        width = len(tensors[f"single_blocks.{block}.linear2.bias"])
        rows = [width, width, width, len(tensor) - 3 * width]
        layers = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
        for layer, part in zip(layers, tensor.split(rows), strict=True):
            made[f"single_transformer_blocks.{block}.{layer}.{end}"] = part.contiguous()
    return made
