"""Autoencoders on their own.

They show what a change in a photo does to the latents of models that it was not made against.
"""

from __future__ import annotations

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
from cloakwork.files import hash_files, read_json
from cloakwork.models import hub, latents
from cloakwork.models.device import pick_device
from cloakwork.models.pretrained_parts import read_part
from cloakwork.registry import EMBEDDED
from cloakwork.types import Images

AUTOENCODER_MICRO_BATCH = 8  # pictures at a time
AUTOENCODER_CLASSES = ("AutoencoderKL", "AutoencoderTiny")
AUTOENCODER_FILES = ("config.json", "diffusion_pytorch_model.safetensors")
AUTOENCODER_PATTERNS = [
    "model_index.json",
    *AUTOENCODER_FILES,
    *(f"vae/{name}" for name in AUTOENCODER_FILES),
]


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
        """Encode pictures (n x 3 x S x S in [0, 1]) to the posterior's mean.

        Returns:
            Scaled latents, n x c x S/8 x S/8, on the CPU.
        """
        place = next(self.vae.parameters()).device
        return torch.cat(
            [
                latents.encode(self.vae, part.to(place)).cpu()
                for part in x.split(AUTOENCODER_MICRO_BATCH)
            ]
        )


def load(name: str, device: str = "auto") -> Autoencoder:
    """Load an autoencoder from whatever has one.

    Args:
        name: "tiny", "tiny-b"; folder or hub id (of which no more than the autoencoder is fetched)
            of a diffusers pipeline, of an AutoencoderKL or an AutoencoderTiny; a folder with
            TAESD's two files as its author publishes them (taesd_encoder.safetensors,
            taesd_decoder.safetensors).
        device: where it runs.

    Raises:
        UserError: no such model, pickle files, another kind of autoencoder.
    """
    alone, target = _load_cpu(name), pick_device(device)
    return alone if target.type == "cpu" else replace(alone, vae=deepcopy(alone.vae).to(target))


@lru_cache(maxsize=8)
def _load_cpu(name: str) -> Autoencoder:
    folder = hub.locate(
        name,
        AUTOENCODER_PATTERNS,
        what="autoencoder",
        kind="autoencoder",
        advice=f"one of {', '.join(EMBEDDED)}, a folder",
        embedded=EMBEDDED,
    )
    what = f"The autoencoder '{name}'"
    if parts := _taesd_files(folder):
        return Autoencoder(name, _load_taesd(*parts), hash_files(parts))
    folder = folder / "vae" if (folder / "model_index.json").is_file() else folder
    files = [folder / file for file in AUTOENCODER_FILES]
    if lacks := [file.name for file in files if not file.is_file()]:
        raise UserError(
            f"{what} has no {' and no '.join(lacks)}. "
            "Pickle files are never loaded; convert them to safetensors."
        )
    kind = read_json(files[0]).get("_class_name")
    if kind not in AUTOENCODER_CLASSES:
        raise UserError(
            f"{what} is of the class {kind}; allowed are {', '.join(AUTOENCODER_CLASSES)}."
        )
    vae = read_part(f"diffusers.{kind}", folder, what, use_safetensors=True, dtype=torch.float32)
    return Autoencoder(name, vae.eval().requires_grad_(False), hash_files(files))


def _taesd_files(folder: Path) -> list[Path]:
    """Return TAESD's two files; none where the folder holds what diffusers would read."""
    parts = [*folder.glob("*_encoder.safetensors"), *folder.glob("*_decoder.safetensors")]
    return parts if len(parts) == 2 and not (folder / "config.json").exists() else []


def _load_taesd(encoder: Path, decoder: Path) -> Any:
    """Load TAESD's layers under the names that they have in diffusers.

    The numbers are the same, less one in the decoder, whose first layer only clamps.
    """
    from diffusers import AutoencoderTiny

    try:
        layers = {f"encoder.layers.{k}": v for k, v in load_file(encoder).items()}
        layers |= {
            re.sub(r"^(\d+)", lambda n: f"decoder.layers.{int(n[0]) - 1}", k): v
            for k, v in load_file(decoder).items()
        }
        of_encoder = [k for k in layers if k.startswith("encoder")]
        last = max(of_encoder, key=lambda k: int(k.split(".")[2]))
        vae = AutoencoderTiny(latent_channels=len(layers[last]))
        vae.load_state_dict({k: v.float() for k, v in layers.items()})
    except Exception as error:  # damaged files make the libraries raise nearly anything
        raise UserError(
            f"The files {encoder.name} and {decoder.name} do not hold TAESD's layers."
        ) from error
    return vae.eval().requires_grad_(False)
