"""Kinds of models in a single file: which one a file is, by the names and shapes in its header."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cloakwork.errors import UserError
from cloakwork.models.families import sdxl, stable_diffusion
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
    prefixes: Mapping[str, str]
    """part with weights -> what their names begin with"""


OF_SD = {"unet": DENOISER, "vae": "first_stage_model.", "text_encoder": "cond_stage_model."}
SD1 = Layout("Stable Diffusion 1.x", "sd1", stable_diffusion, OF_SD)
SD2 = Layout("Stable Diffusion 2.x", "sd2", stable_diffusion, OF_SD)
CLIPS = {f"text_encoder{end}": f"conditioner.embedders.{i}." for i, end in enumerate(("", "_2"))}
SDXL = Layout("Stable Diffusion XL", "sdxl", sdxl, OF_SD | CLIPS)
# names of weights -> what such a file is, for those that are no whole model
STRANGERS = {
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
        raise UserError(f"'{self.named.model}' is {self._stranger()}.")

    def _stranger(self) -> str:
        for pattern, what in STRANGERS.items():
            if any(re.search(pattern, key) for key in self.shapes):
                return what.format(file=self.named.model)
        known = ", ".join(layout.name for layout in (SD1, SD2, SDXL))
        return f"no model of a kind that is known in a single file; known are {known}"

    def has(self, prefix: str) -> bool:
        """Return whether the names of some weights begin so."""
        return any(key.startswith(prefix) for key in self.shapes)

    @property
    def inside(self) -> list[str]:
        """The parts with weights that the file holds."""
        return [part for part, prefix in self.layout.prefixes.items() if self.has(prefix)]

    @property
    def tokenizers(self) -> dict[str, str]:
        """The tokenizers that it needs, and their classes."""
        return {
            part.replace("text_encoder", "tokenizer"): "CLIPTokenizer"
            for part in self.layout.prefixes
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
        inpaints = self.layout is SD2 and self.shapes[FIRST][1] == INPAINTING
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

    def what(self, part: str) -> str:
        """Return what a user calls a part."""
        return f"The {part} in '{self.named.model}'"
