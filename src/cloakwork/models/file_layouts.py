"""Kinds of models in a single file: which one a file is, by the names and shapes in its header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cloakwork.errors import UserError
from cloakwork.files import read_json
from cloakwork.models.families import flux, sd3, sdxl, stable_diffusion
from cloakwork.models.families.family import Family
from cloakwork.models.names import Named

CONFIGS = Path(__file__).with_name("configs")
DENOISER = "model.diffusion_model."  # what the names of a denoiser's weights begin with
FIRST = f"{DENOISER}input_blocks.0.0.weight"  # of a UNet: out x in x 3 x 3
INPAINTING = 9  # input channels of inpainting models


@dataclass(frozen=True)
class Layout:
    """How the parts of a kind of model lie in a file."""

    name: str
    """what people call it"""
    configs: str
    """the folder of its configs below CONFIGS"""
    family: Family
    prefixes: Mapping[str, str | tuple[str, ...]]
    """part with weights -> what their names begin with, any of several"""


OF_SD = {"unet": DENOISER, "vae": "first_stage_model.", "text_encoder": "cond_stage_model."}
SD1 = Layout("Stable Diffusion 1.x", "sd1", stable_diffusion, OF_SD)
SD2 = Layout("Stable Diffusion 2.x", "sd2", stable_diffusion, OF_SD)
CLIPS = {f"text_encoder{end}": f"conditioner.embedders.{i}." for i, end in enumerate(("", "_2"))}
SDXL = Layout("Stable Diffusion XL", "sdxl", sdxl, OF_SD | CLIPS)
# text encoders lie alike in the files of transformers; those may lie alone, without a prefix
CLIP_L, CLIP_G, T5 = (f"text_encoders.{name}." for name in ("clip_l", "clip_g", "t5xxl"))
VAE = ("first_stage_model.", "vae.")
OF_SD3 = ("joint_blocks.", "x_embedder.", "t_embedder.", "y_embedder.", "context_embedder.")
OF_FLUX = ("double_blocks.", "single_blocks.", "img_in.", "txt_in.", "time_in.", "vector_in.")
SD3 = Layout(
    "Stable Diffusion 3 and 3.5",
    "sd3",
    sd3,
    {
        "transformer": (DENOISER, *OF_SD3, "pos_embed", "final_layer."),
        "vae": VAE,
        "text_encoder": CLIP_L,
        "text_encoder_2": CLIP_G,
        "text_encoder_3": T5,
    },
)
FLUX = Layout(
    "FLUX.1",
    "flux",
    flux,
    {
        "transformer": (DENOISER, *OF_FLUX, "guidance_in.", "final_layer."),
        "vae": VAE,
        "text_encoder": CLIP_L,
        "text_encoder_2": T5,
    },
)
LAYOUTS = (SD1, SD2, SDXL, SD3, FLUX)
# relatives of FLUX.1 with other layers; numbers that stand for weights
UNKNOWN = r"distilled_guidance_layer|double_stream_modulation|single_stream_modulation"
QUANTISED = (
    r"scaled_fp8|\.scale_(weight|input)$|\.weight_scale|\.absmax$|\.quant_(state|map)|\.comfy_"
)
IS_QUANTISED = "quantised, which cannot be read; name the same model in fp32, fp16 or bf16"
# names of weights -> what such a file is, for those that are no whole model
STRANGERS = {
    QUANTISED: IS_QUANTISED,
    r"lora|hada_|lokr_|\.oft_": (
        "an adapter, which changes a model and is none; name it behind one, as in MODEL+{file}"
    ),
    r"^control_model\.|controlnet": "a ControlNet; name the model that it steers",
    r"^conditioner\.embedders\.0\.model\.": "a refiner; name the base model",
    r"^(down_blocks|mid_block|up_blocks|(single_)?transformer_blocks)\.": (
        "a single part in diffusers' own layout; name its pipeline's folder"
    ),
    r"^(first_stage_model\.)?(encoder|decoder)\.(conv_in|mid|down)": (
        "an autoencoder without a denoiser; name a whole model"
    ),
    r"text_model\.|^encoder\.block\.0\.": "a text encoder; name a whole model",
}


@dataclass(frozen=True)
class Content:
    """A file's header, and what is beside it."""

    named: Named
    shapes: Mapping[str, tuple[int, ...]]
    metadata: Mapping[str, str]

    @cached_property
    def layout(self) -> Layout:
        """Its kind.

        Raises:
            UserError: none that is known.
        """
        if self.any(QUANTISED):
            raise UserError(f"'{self.named.model}' is {self._stranger()}.")
        if FIRST in self.shapes:
            if f"{DENOISER}label_emb.0.0.weight" in self.shapes:
                if not self.has("conditioner.embedders.0.model."):
                    return SDXL
            elif self.has("cond_stage_model.model."):
                return SD2
            elif self.has("cond_stage_model."):
                return SD1
            else:  # a projection is a convolution of one pixel in 1.x, a linear layer in 2.x
                projection = self.shapes.get(f"{DENOISER}input_blocks.1.1.proj_in.weight", ())
                return SD2 if len(projection) == 2 else SD1
        if self.shape("joint_blocks.0.x_block.attn.qkv.weight"):
            return SD3
        if self.shape("double_blocks.0.img_attn.qkv.weight") and not self.any(UNKNOWN):
            return FLUX
        raise UserError(f"'{self.named.model}' is {self._stranger()}.")

    def _stranger(self) -> str:
        for pattern, what in STRANGERS.items():
            if self.any(pattern):
                return what.format(file=self.named.model)
        known = ", ".join(layout.name for layout in LAYOUTS)
        return f"no model of a kind that is known in a single file; known are {known}"

    def has(self, prefix: str | tuple[str, ...]) -> bool:
        """Return whether the names of some weights begin so."""
        return any(key.startswith(prefix) for key in self.shapes)

    def any(self, pattern: str) -> bool:
        """Return whether a pattern is found in the names of some weights."""
        return any(re.search(pattern, key) for key in self.shapes)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a denoiser's weight; () where there is none."""
        return self.shapes.get(DENOISER + name, self.shapes.get(name, ()))

    @property
    def is_told_guidance(self) -> bool:
        """Whether a FLUX.1 is told a guidance scale: dev is, schnell is not."""
        return bool(self.shape("guidance_in.in_layer.weight"))

    @property
    def inside(self) -> list[str]:
        """The parts with weights that the file holds."""
        return [part for part, prefix in self.layout.prefixes.items() if self.has(prefix)]

    @property
    def optional(self) -> list[str]:
        """The parts with weights that its pipelines may go without."""
        return [part for part, kinds in self.layout.family.PARTS.items() if None in kinds]

    @property
    def wanted(self) -> list[str]:
        """The parts with weights that are read: all but what the index beside it leaves out."""
        index = read_json(self.named.parts / "model_index.json") if self.named.parts else {}
        return [
            part
            for part in self.layout.prefixes
            if part not in self.optional or part in self.inside or index.get(part) != [None, None]
        ]

    @property
    def left_out(self) -> list[str]:
        """The parts that are not read, and their tokenizers."""
        parts = [part for part in self.layout.prefixes if part not in self.wanted]
        return [*parts, *(part.replace("text_encoder", "tokenizer") for part in parts)]

    @property
    def tokenizers(self) -> dict[str, str]:
        """The tokenizers that it needs, and their classes."""
        return {
            part.replace("text_encoder", "tokenizer"): (
                "T5Tokenizer" if self.layout.prefixes[part] == T5 else "CLIPTokenizer"
            )
            for part in self.wanted
            if part.startswith("text_encoder")
        }

    @property
    def predicts(self) -> str | None:
        """What it was trained to predict, as far as the file says; else None.

        Raises:
            UserError: it sees noise in a way of its own.
        """
        if any(key.startswith("edm_") for key in self.shapes):
            raise UserError(
                f"'{self.named.model}' was trained with EDM's scaling, which cannot be used here."
            )
        said = self.metadata.get("modelspec.prediction_type", "")
        if "v_pred" in self.shapes or said.startswith("v"):
            return "v_prediction"
        inpaints = self.layout is SD2 and self.shapes[FIRST][1:2] == (INPAINTING,)
        return "epsilon" if inpaints or said == "epsilon" else None

    def folder(self, part: str) -> Path:
        """Return where a part may lie: beside the file, else where its config is known."""
        own = self.named.parts / part if self.named.parts else None
        return own if own and own.is_dir() else CONFIGS / self.layout.configs / part

    def config(self, part: str) -> Path:
        """Return a part's config: of the folder beside the file, or the one that is known."""
        name = "scheduler_config.json" if part == "scheduler" else "config.json"
        own = self.folder(part) / name
        return own if own.is_file() else CONFIGS / self.layout.configs / part / name

    def knows(self, part: str) -> bool:
        """Return whether a part's config is the published model's, not one beside the file."""
        return self.config(part).is_relative_to(CONFIGS)

    def what(self, part: str) -> str:
        """Return what a user calls a part."""
        return f"The {part} in '{self.named.model}'"
