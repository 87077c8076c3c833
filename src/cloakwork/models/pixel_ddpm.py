"""Diffusion models of pixels: what purifiers diffuse photos with. Unconditional, in diffusers'
DDPMPipeline format.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.models import hub
from cloakwork.models.device import DTYPES, pick_device, quiet
from cloakwork.models.loading import UNWANTED, hash_weights
from cloakwork.types import Images

EMBEDDED = {"tiny": "tiny-pixels"}  # name -> folder under assets/
WANTED = [
    "model_index.json",
    *(f"{part}/*.{end}" for part in ("unet", "scheduler") for end in ("json", "safetensors")),
]
MICRO_BATCH = 16  # windows at a time


@dataclass(frozen=True)
class PixelDDPM:
    """An unconditional denoiser of pictures in [-1, 1] (Ho et al., arXiv 2006.11239).

    Attributes:
        name: what the user asked for: "tiny", a folder, a hub id.
        weights: first 12 hex digits of the sha256 over weights and configs.
        size: side of the square it was trained on, pixels.
        dtype: what the arithmetic is autocast to; weights stay in fp32.
    """

    name: str
    unet: Any
    scheduler: Any
    weights: str
    size: int
    dtype: torch.dtype = torch.float32

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    def abar(self, t: int) -> Tensor:
        """Share of the picture in the variance at timestep t; that of a clean picture at -1."""
        return self.scheduler.alphas_cumprod[t] if t >= 0 else torch.ones(())

    @torch.no_grad()
    def predict(self, x_t: Images, t: int) -> Tensor:
        """The noise in pictures (n x 3 x S x S) at timestep t."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            parts = [
                self.unet(part, torch.tensor(t, device=self.device)).sample
                for part in x_t.split(MICRO_BATCH)
            ]
        return torch.cat(parts)[
            :, :3
        ].float()  # those that learned a variance give it in further channels

    def step(self, x_t: Images, t: int, s: int, noise: Tensor) -> Images:
        """From timestep t to an earlier s (-1: clean), by ancestral sampling with the posterior's
        variance.
        """
        a_t, a_s = self.abar(t), self.abar(s)
        x_0 = ((x_t - (1 - a_t).sqrt() * self.predict(x_t, t)) / a_t.sqrt()).clamp(-1, 1)
        beta = 1 - a_t / a_s
        mean = (a_s.sqrt() * beta * x_0 + (a_t / a_s).sqrt() * (1 - a_s) * x_t) / (1 - a_t)
        return mean + ((1 - a_s) / (1 - a_t) * beta).sqrt() * noise


def load(name: str = "tiny", device: str = "auto", dtype: str = "float32") -> PixelDDPM:
    """A PixelDDPM from "tiny", a diffusers folder (DDPMPipeline: unet, scheduler) or a hub id.

    Raises:
        UserError: unknown dtype or device, no such model, pickled weights, another kind of model.
    """
    if dtype not in DTYPES:
        raise UserError(f"The dtype '{dtype}' is not known; allowed are {', '.join(DTYPES)}.")
    target, base = pick_device(device), _load_cpu(str(name))
    unet = base.unet if base.device == target else deepcopy(base.unet).to(target)
    return replace(base, unet=unet, dtype=DTYPES[dtype])


@lru_cache
def weights(name: str) -> str:
    """`PixelDDPM.weights` of a model by name, without loading it; raises as `load` does."""
    return hash_weights(_folder(name))


def _folder(name: str) -> Path:
    folder = hub.locate(
        name,
        WANTED,
        what="denoiser",
        kind="pipeline",
        advice="tiny, a diffusers folder (DDPMPipeline)",
        embedded=EMBEDDED,
        unwanted=UNWANTED,
    )
    _check(folder, name)
    return folder


@lru_cache(maxsize=2)
def _load_cpu(name: str) -> PixelDDPM:
    from diffusers import DDPMScheduler, UNet2DModel

    folder = _folder(name)
    quiet()
    try:
        unet: Any = UNet2DModel.from_pretrained(
            folder / "unet", use_safetensors=True, torch_dtype=torch.float32
        )
        scheduler: Any = DDPMScheduler.from_pretrained(folder / "scheduler")
    except Exception as error:
        raise UserError(
            f"The denoiser in '{name}' could not be read ({type(error).__name__}: {str(error).splitlines()[0]})."
        ) from error
    if unet.config.in_channels != 3 or scheduler.config.prediction_type != "epsilon":
        raise UserError(
            f"The denoiser in '{name}' takes {unet.config.in_channels} channels and predicts "
            f"'{scheduler.config.prediction_type}'; one of pictures (3) that predicts the noise (epsilon) is needed."
        )
    size = unet.config.sample_size
    side = size if isinstance(size, int) else size[0] if size and len(set(size)) == 1 else 0
    if not side or unet.class_embedding is not None:
        raise UserError(
            f"The denoiser in '{name}' works on pictures of the size {size}"
            f"{'' if unet.class_embedding is None else ' and asks for their class'}; one of squares without a class is needed."
        )
    unet.eval().requires_grad_(False)
    return PixelDDPM(name, unet, scheduler, weights(name), side)


def _check(folder: Path, name: str) -> None:
    index = folder / "model_index.json"
    try:
        kind = json.loads(index.read_text())["_class_name"]
    except (OSError, ValueError, KeyError, TypeError):
        kind = "nothing that model_index.json names"
    if kind not in ("DDPMPipeline", "DDIMPipeline"):
        raise UserError(
            f"The folder '{name}' holds {kind}; a denoiser of pixels (DDPMPipeline) is needed."
        )
    if not list((folder / "unet").glob("*.safetensors")):
        raise UserError(
            f"The folder '{name}' has no safetensors weights in unet/; pickled weights are not read."
        )
