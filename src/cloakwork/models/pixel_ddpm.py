"""Diffusion models of pixels, which purifiers diffuse photos with.

Unconditional, in diffusers' DDPMPipeline format.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cloakwork.errors import UserError
from cloakwork.files import read_json
from cloakwork.models import hub
from cloakwork.models.device import arithmetic, pick_device
from cloakwork.models.pipelines import PIPELINE_LEFT_OUT, hash_weights
from cloakwork.models.pretrained_parts import read_part
from cloakwork.types import Images

EMBEDDED_DENOISERS = {"tiny": "tiny-pixels"}  # name -> folder under assets/
DENOISER_PATTERNS = [
    "model_index.json",
    *(f"{part}/*.{end}" for part in ("unet", "scheduler") for end in ("json", "safetensors")),
]
DENOISER_MICRO_BATCH = 16  # windows at a time


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
    def networks(self) -> dict[str, nn.Module]:
        """All parts with weights, by the names of their fields."""
        return {"unet": self.unet}

    @property
    def device(self) -> torch.device:
        return next(self.unet.parameters()).device

    def abar(self, t: int) -> Tensor:
        """Return the share of the picture in the variance at timestep t; 1 at -1, a clean one."""
        return self.scheduler.alphas_cumprod[t] if t >= 0 else torch.ones(())

    @torch.no_grad()
    def predict(self, x_t: Images, t: int) -> Tensor:
        """Predict the noise in pictures (n x 3 x S x S in [-1, 1], noised) at timestep t."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            parts = [
                self.unet(part, torch.tensor(t, device=self.device)).sample
                for part in x_t.split(DENOISER_MICRO_BATCH)
            ]
        # networks that learned a variance give it in further channels
        return torch.cat(parts)[:, :3].float()

    def step(self, x_t: Images, t: int, s: int, noise: Tensor) -> Images:
        """Go from timestep t to an earlier s by ancestral sampling with the posterior's variance.

        Args:
            x_t: pictures at timestep t, n x 3 x S x S.
            t: the timestep they are at.
            s: the timestep they go to; -1 is clean.
            noise: standard normal, of the pictures' shape.
        """
        a_t, a_s = self.abar(t), self.abar(s)
        x_0 = ((x_t - (1 - a_t).sqrt() * self.predict(x_t, t)) / a_t.sqrt()).clamp(-1, 1)
        beta = 1 - a_t / a_s
        mean = (a_s.sqrt() * beta * x_0 + (a_t / a_s).sqrt() * (1 - a_s) * x_t) / (1 - a_t)
        return mean + ((1 - a_s) / (1 - a_t) * beta).sqrt() * noise


def load(name: str = "tiny", device: str = "auto", dtype: str = "float32") -> PixelDDPM:
    """Load a denoiser of pixels.

    Args:
        name: "tiny", a diffusers folder (DDPMPipeline: unet, scheduler) or a hub id.
        device: where it runs; see `device.pick_device`.
        dtype: "float32", "bfloat16" or "float16": what the arithmetic is autocast to.

    Raises:
        UserError: unknown dtype or device, no such model, pickle files, another kind of model.
    """
    target = pick_device(device)
    computes_in, base = arithmetic(dtype, target), _load_cpu(str(name))
    unet = base.unet if base.device == target else deepcopy(base.unet).to(target)
    return replace(base, unet=unet, dtype=computes_in)


@lru_cache
def weights(name: str) -> str:
    """Compute the `PixelDDPM.weights` of a model by name, without loading it."""
    return hash_weights(_folder(name))


def _folder(name: str) -> Path:
    folder = hub.locate(
        name,
        DENOISER_PATTERNS,
        what="denoiser",
        kind="pipeline",
        advice="tiny, a diffusers folder (DDPMPipeline)",
        embedded=EMBEDDED_DENOISERS,
        unwanted=PIPELINE_LEFT_OUT,
    )
    _check_folder(folder, name)
    return folder


@lru_cache(maxsize=2)
def _load_cpu(name: str) -> PixelDDPM:
    folder, what = _folder(name), f"The denoiser in '{name}'"
    unet = read_part(
        "diffusers.UNet2DModel",
        folder / "unet",
        what,
        use_safetensors=True,
        torch_dtype=torch.float32,
    )
    scheduler = read_part("diffusers.DDPMScheduler", folder / "scheduler", what)
    side = _check_parts(unet, scheduler, what)
    unet.eval().requires_grad_(False)
    return PixelDDPM(name, unet, scheduler, weights(name), side)


def _check_parts(unet: Any, scheduler: Any, what: str) -> int:
    """Refuse a network that windows do not suit.

    Returns:
        The side of the squares that it works on, pixels.
    """
    channels, kind = unet.config.in_channels, scheduler.config.prediction_type
    if channels != 3 or kind != "epsilon":
        raise UserError(
            f"{what} takes {channels} channels and predicts '{kind}'; "
            "one of pictures (3) that predicts the noise (epsilon) is needed."
        )
    size = unet.config.sample_size
    side = size if isinstance(size, int) else size[0] if size and len(set(size)) == 1 else 0
    if not side or unet.class_embedding is not None:
        asks = "" if unet.class_embedding is None else " and asks for their class"
        raise UserError(
            f"{what} works on pictures of the size {size}{asks}; "
            "one of squares without a class is needed."
        )
    return side


def _check_folder(folder: Path, name: str) -> None:
    """Refuse a folder of another pipeline, or without safetensors."""
    index = folder / "model_index.json"
    kind = read_json(index).get("_class_name", "nothing that model_index.json names")
    if kind not in ("DDPMPipeline", "DDIMPipeline"):
        raise UserError(
            f"The folder '{name}' holds {kind}; a denoiser of pixels (DDPMPipeline) is needed."
        )
    if not list((folder / "unet").glob("*.safetensors")):
        raise UserError(
            f"The folder '{name}' has no safetensors weights in unet/. "
            "Pickle files are never loaded; convert them first."
        )
