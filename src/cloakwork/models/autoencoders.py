"""Autoencoders on their own: surrogates of protections that need no denoiser, and a measure of what
a change in a photo does to the latents of models that it was not made against.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.files import hash_files, read_json
from cloakwork.models import hub, latent_spaces, latents, taesd
from cloakwork.models.device import arithmetic, pick_device
from cloakwork.models.pretrained_parts import read_part
from cloakwork.photos.tensors import send
from cloakwork.registry import EMBEDDED
from cloakwork.types import Images

AUTOENCODER_CLASSES = (
    "AutoencoderKL",
    "AutoencoderTiny",
    "AutoencoderKLFlux2",
    "AutoencoderKLQwenImage",
    "AutoencoderKLWan",
    "AutoencoderDC",
)
AUTOENCODER_FILES = (latent_spaces.CONFIG, latent_spaces.WEIGHTS)
TAESD_PATTERNS = ["*_encoder.safetensors", "*_decoder.safetensors"]
AUTOENCODER_PATTERNS = [
    "model_index.json",
    *AUTOENCODER_FILES,
    *(f"vae/{name}" for name in AUTOENCODER_FILES),
    *TAESD_PATTERNS,
]
HEADS = ["model_index.json", latent_spaces.CONFIG]  # say what a folder holds
USUAL_SIZE = 512  # pixels, where a config names no size that pictures have
LEAST_SIZE = 64  # pixels; smaller ones in a config are a class's default, not a model's size
# pixels: sides of views are multiples of it, as the coarsest autoencoder here needs
GRAIN = 32


@dataclass(frozen=True, eq=False)
class Autoencoder:
    """A frozen autoencoder in fp32, which arithmetic may be autocast from.

    Attributes:
        name: what the user asked for: "tiny", "sd3:tiny", a folder, a hub id.
        weights: first 12 hex digits of the sha256 over its weights and config.
        sizes: sides of the square pictures that its models are used at, pixels, the largest last.
        sample_posterior, low_memory: as of `LDM`.
    """

    name: str
    vae: Any
    weights: str
    sizes: tuple[int, ...] = (USUAL_SIZE,)
    dtype: torch.dtype = torch.float32
    sample_posterior: bool = False
    low_memory: bool = False

    def __str__(self) -> str:
        return f"{self.name} (weights {self.weights})"

    @property
    def device(self) -> torch.device:
        return next(self.vae.parameters()).device

    @property
    def size(self) -> int:
        """Side of the largest picture that it is to see, in pixels."""
        return self.sizes[-1]

    @property
    def scale(self) -> int:
        """How many pixels of a picture there are to a latent, along one side."""
        return latents.scale(self.vae)

    def autocast(self) -> AbstractContextManager:
        on = self.dtype != torch.float32
        return torch.autocast(self.device.type, self.dtype, enabled=on)

    def moments(self, x: Images) -> Tensor:
        """Return what the autoencoder says of pictures; see `latents.moments`."""
        with self.autocast():
            return latents.moments(self.vae, x)

    def latents(self, moments: Tensor, rng: torch.Generator | None = None) -> Tensor:
        """Return the scaled latents of moments, as `encode` would those of the pictures."""
        if self.sample_posterior and rng is None:
            raise ValueError("Something random was asked for without a generator.")

        def noise(shape: Sequence[int]) -> Tensor:
            return send(torch.randn(shape, generator=rng), self.device)

        with self.autocast():
            return latents.from_moments(self.vae, moments, noise if self.sample_posterior else None)

    def encode(self, x: Images, rng: torch.Generator | None = None) -> Tensor:
        """Encode pictures (n x 3 x S x S in [0, 1]) to scaled latents, n x c x S/s x S/s.

        Differentiable. `rng` is used only when `sample_posterior` is on.
        """
        return self.latents(self.moments(x), rng)

    def computing_in(self, dtype: str) -> Autoencoder:
        """Return the same with other arithmetic, a name of DTYPES; itself for ""."""
        return replace(self, dtype=arithmetic(dtype, self.device)) if dtype else self

    def views(self, side: int) -> tuple[Autoencoder, ...]:
        """Return it once for each size at which it sees photos; see `view_sizes`."""
        return tuple(replace(self, sizes=(size,)) for size in view_sizes(self.sizes, side))


def view_sizes(sizes: Sequence[int], side: int) -> tuple[int, ...]:
    """Return the sizes at which photos of a short side are looked at.

    They are the models' own, but none beyond the photo, which has nothing more to show there, and
    costs by the square. Below them comes three quarters of the smallest: a photo that is seen at
    its own size alone is moved in stripes of a pixel's width, which any resize takes away.

    Args:
        sizes: of the models' pictures, pixels.
        side: the photos' short side, pixels.

    >>> view_sizes((512, 1024), 3000), view_sizes((512, 1024), 600), view_sizes((512,), 128)
    ((384, 512, 1024), (384, 512, 576), (96, 128))
    """
    most = max(GRAIN, side // GRAIN * GRAIN)
    seen = {min(size, most) for size in sizes}
    smaller = max(GRAIN, min(seen) * 3 // 4 // GRAIN * GRAIN)
    return tuple(sorted({smaller, *seen}))


def load(
    name: str,
    device: str = "auto",
    dtype: str = "float32",
    *,
    sample_posterior: bool = False,
    low_memory: bool = False,
) -> Autoencoder:
    """Load an autoencoder from whatever has one.

    Args:
        name: "tiny", "tiny-b"; folder or hub id (of which no more than the autoencoder is fetched)
            of a diffusers pipeline, or of an autoencoder of one of AUTOENCODER_CLASSES; a folder
            with TAESD's two files as its author publishes them (taesd_encoder.safetensors,
            taesd_decoder.safetensors; likewise taesd3, taef2); or a family of models with its
            version, such as "sd3:tiny".
        device: where it runs.
        dtype: "float32", "bfloat16" or "float16": what the arithmetic is autocast to.
        sample_posterior, low_memory: as of `loading.load`.

    Raises:
        UserError: no such model, pickle files, another kind of autoencoder, unknown dtype.
    """
    target = pick_device(device)
    computes_in, alone = arithmetic(dtype, target), _load_cpu(name)
    vae = alone.vae if target.type == "cpu" else deepcopy(alone.vae).to(target)
    return replace(
        alone,
        vae=vae,
        dtype=computes_in,
        sample_posterior=sample_posterior,
        low_memory=low_memory,
    )


def is_alone(name: str) -> bool:
    """Return whether a name is that of an autoencoder alone, not of a whole pipeline.

    A hub id is looked at there, for which no weights are fetched.

    Raises:
        UserError: the hub does not know it, or cannot be reached.
    """
    folder = Path(name).expanduser()
    if latent_spaces.knows(name) or name in EMBEDDED:
        return name not in EMBEDDED
    if hub.is_on_hub(name, EMBEDDED):
        folder = hub.fetch(name, HEADS, what="model", failure=UserError)
    if not folder.is_dir() or (folder / "model_index.json").exists():
        return False
    return bool(taesd.find_files(folder)) or "_class_name" in read_json(folder / HEADS[1])


def identity(name: str) -> str:
    """Return what tells an encoder from others in a key: its weights, and the sizes it looks at."""
    alone = _load_cpu(name)
    return f"{alone.weights} {' '.join(map(str, alone.sizes))}"


@lru_cache(maxsize=8)
def _load_cpu(name: str) -> Autoencoder:
    if latent_spaces.knows(name):
        alone = read_folder(latent_spaces.folder(name), name)
        return replace(alone, sizes=latent_spaces.SPACES[name.partition(":")[0]].sizes)
    folder = hub.locate(
        name,
        AUTOENCODER_PATTERNS,
        what="autoencoder",
        kind="autoencoder",
        advice=f"one of {', '.join(EMBEDDED)}, a folder",
        embedded=EMBEDDED,
    )
    return read_folder(folder, name)


def read_folder(folder: Path, name: str) -> Autoencoder:
    """Load the autoencoder that is in a folder, or in its vae/ where it is a pipeline's.

    Raises:
        UserError: pickle files, another kind of autoencoder, damaged files.
    """
    what = f"The autoencoder '{name}'"
    if parts := taesd.find_files(folder):
        return Autoencoder(name, taesd.load_files(*parts), hash_files(parts))
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
    size = vae.config.get("sample_size") or 0
    sizes = (size if isinstance(size, int) and size >= LEAST_SIZE else USUAL_SIZE,)
    return Autoencoder(name, vae.eval().requires_grad_(False), hash_files(files), sizes)
