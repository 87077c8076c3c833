"""Autoencoders on their own: to see what a change in a photo does to the latents of models that it
was not made against.
"""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.models import hub, ldm
from cloakwork.models.device import pick_device, quiet
from cloakwork.registry import EMBEDDED
from cloakwork.types import Images

MICRO_BATCH = 8  # pictures at a time
CLASSES = ("AutoencoderKL", "AutoencoderTiny")
FILES = ("config.json", "diffusion_pytorch_model.safetensors")
WANTED = ["model_index.json", *FILES, *(f"vae/{name}" for name in FILES)]


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """A frozen autoencoder in fp32.

    Attributes:
        name: what the user asked for: "tiny", a folder, a hub id.
        weights: first 12 hex digits of the sha256 over its weights and config.
    """

    name: str
    vae: Any
    weights: str

    def __str__(self) -> str:
        return f"{self.name} (weights {self.weights})"

    @torch.no_grad()
    def encode(self, x: Images) -> Tensor:
        """Pictures (n x 3 x S x S in [0, 1]) to scaled latents (n x c x S/8 x S/8), the posterior's
        mean.
        """
        place = next(self.vae.parameters()).device
        return torch.cat(
            [ldm.encode(self.vae, part.to(place)).cpu() for part in x.split(MICRO_BATCH)]
        )


def load(name: str, device: str = "auto") -> Autoencoder:
    """An Autoencoder from whatever has one.

    Args:
        name: "tiny", "tiny-b"; folder or hub id (of which no more than the autoencoder is fetched)
            of a diffusers pipeline, of an AutoencoderKL or an AutoencoderTiny; a folder with
            TAESD's two files as its author publishes them (taesd_encoder.safetensors,
            taesd_decoder.safetensors).
        device: where it runs.

    Raises:
        UserError: no such model, pickled weights, another kind of autoencoder.
    """
    alone, target = _load_cpu(name), pick_device(device)
    return alone if target.type == "cpu" else replace(alone, vae=deepcopy(alone.vae).to(target))


@lru_cache(maxsize=8)
def _load_cpu(name: str) -> Autoencoder:
    folder = hub.locate(
        name,
        WANTED,
        what="autoencoder",
        kind="autoencoder",
        advice=f"one of {', '.join(EMBEDDED)}, a folder",
        embedded=EMBEDDED,
    )
    if parts := _taesd_files(folder):
        return Autoencoder(name, _load_taesd(*parts), hub.digest(parts))
    folder = folder / "vae" if (folder / "model_index.json").is_file() else folder
    files = [folder / name for name in FILES]
    if lacks := [f.name for f in files if not f.is_file()]:
        raise UserError(
            f"The autoencoder '{name}' has no {' and no '.join(lacks)}; pickled weights are not read, convert them."
        )
    kind = json.loads(files[0].read_text()).get("_class_name")
    if kind not in CLASSES:
        raise UserError(
            f"The autoencoder '{name}' is of the class {kind}; allowed are {', '.join(CLASSES)}."
        )
    quiet()
    import diffusers

    try:
        vae = getattr(diffusers, kind).from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32
        )
    except Exception as error:
        raise UserError(
            f"The autoencoder '{name}' could not be read ({str(error).splitlines()[0]})."
        ) from error
    return Autoencoder(name, vae.eval().requires_grad_(False), hub.digest(files))


def _taesd_files(folder: Path) -> list[Path]:
    """TAESD's two files, if the folder holds them and nothing that diffusers would read."""
    parts = [*folder.glob("*_encoder.safetensors"), *folder.glob("*_decoder.safetensors")]
    return parts if len(parts) == 2 and not (folder / "config.json").exists() else []


def _load_taesd(encoder: Path, decoder: Path) -> Any:
    """TAESD's layers as diffusers names them: by the same numbers, less one in the decoder, whose
    first layer only clamps.
    """
    from diffusers import AutoencoderTiny

    said = {f"encoder.layers.{k}": v for k, v in load_file(encoder).items()}
    said |= {
        re.sub(r"^(\d+)", lambda n: f"decoder.layers.{int(n[0]) - 1}", k): v
        for k, v in load_file(decoder).items()
    }
    last = max((k for k in said if k.startswith("encoder")), key=lambda k: int(k.split(".")[2]))
    vae = AutoencoderTiny(latent_channels=len(said[last]))
    try:
        vae.load_state_dict({k: v.float() for k, v in said.items()})
    except RuntimeError as error:
        raise UserError(
            f"The files {encoder.name} and {decoder.name} do not hold TAESD's layers."
        ) from error
    return vae.eval().requires_grad_(False)
