"""CodeSR: faces drawn anew, then the photo made small and enlarged by super-resolution.

Liu et al., "Rethinking and Defending Protective Perturbation in Personalized Diffusion Models",
arXiv 2406.18944:

    x' = resize(SR(resize(CodeFormer(x), scale)), the photo's size)

Super-resolution draws what it knows, and no perturbation. Checked against the authors'
DiffShortcut: CodeFormer with fidelity .5 where there are people, then 128 x 128 px and Stable
Diffusion's x4 upscaler (75 steps, guidance 9, "A photo of a person") to 512. Preset "noisy" is
noisy upscaling (Hönig et al., arXiv 2406.12027): noise of .1 first, nothing made small, noise level
320 where the upscaler has one.

Departures:
- the offline default is Real-ESRGAN (extra `restore`), and no CodeFormer, whose weights are the
  user's to bring (`codeformer`);
- photos keep their size and shape: `scale` is a factor (a quarter is theirs, 128 of 512, for photos
  of their model's size);
- CodeFormer sees each face that dlib finds, in a square twice as wide as its box, and is pasted
  back along a soft border; photos without a face are only enlarged, with a warning.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from cloakwork.errors import check_ranges
from cloakwork.models import codeformer, hub, super_resolution, upscalers
from cloakwork.models.ldm import LDM
from cloakwork.photos.tensors import lanczos
from cloakwork.purifiers import resize
from cloakwork.registry import OMIT_FROM_KEY_AT_DEFAULT, SUBJECT_PROMPT
from cloakwork.types import Photos

VERSION = 1


@dataclass(frozen=True)
class Config:
    """Restoration, then super-resolution."""

    codeformer: str = ""
    """safetensors file with CodeFormer's weights (empty: faces stay as they are)"""
    fidelity: float = 0.5
    """of CodeFormer: 0 draws the cleanest face, 1 the likest"""
    noise: float = 0.0
    """standard deviation of noise that is added first, in shares of the pixel range"""
    scale: float = 0.25
    """what photos are made small by before they are enlarged four times"""
    upscaler: str = "realesrgan"
    """realesrgan, or a folder or hub id of diffusers' x4 upscaling pipeline"""
    prompt: str = field(default="A photo of a person", metadata=SUBJECT_PROMPT)
    """for a diffusers upscaler"""
    noise_level: int = 20
    """for a diffusers upscaler: how much noise it takes the photo to have"""
    stand_in: Literal["resize", "network"] = field(
        default="resize", metadata=OMIT_FROM_KEY_AT_DEFAULT
    )
    """what a protection that looks through this sees in place of super-resolution: an enlargement
    that invents nothing, or a small network that was trained to give what Real-ESRGAN gives"""

    def __post_init__(self) -> None:
        check_ranges(self, fidelity=(0, 1), noise=(0, 10), scale=(0.01, 1), noise_level=(0, 1000))


PRESETS = {
    "paper": Config(upscaler="stabilityai/stable-diffusion-x4-upscaler"),
    "tiny": Config(),
    "noisy": Config(noise=0.1, scale=1.0, noise_level=320),
}


def instrument(cfg: Config) -> str:
    """Name the networks, which the purifier finds by itself, and their weights."""
    return f"{hub.identity(cfg.codeformer)} {upscalers.identity(cfg.upscaler)}"


def purify(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos (each 3 x H x W in [0, 1]) of their own sizes.

    Raises:
        UserError: the upscaler or the weights are not here.
    """
    enlarge = upscalers.load(cfg.upscaler, cfg.prompt, noise_level=cfg.noise_level)

    def pure(photo: Tensor) -> Tensor:
        if cfg.codeformer:
            photo = codeformer.with_faces_anew(photo, cfg.codeformer, cfg.fidelity)
        if cfg.noise:
            noise = torch.randn(photo.shape, generator=rng).to(photo)
            photo = (photo + cfg.noise * noise).clamp(0, 1)
        small = lanczos(photo, *_small(photo, cfg.scale))
        return lanczos(enlarge(small, rng), *photo.shape[-2:])

    return [pure(p) for p in photos]


def smooth(photos: Photos, ldm: LDM | None, cfg: Config, *, rng: torch.Generator) -> Photos:
    """Return photos that were made small and large again, with a graph, by what stands in for
    super-resolution (`stand_in`); faces are not drawn anew.
    """
    if cfg.noise:
        photos = [
            (p + cfg.noise * torch.randn(p.shape, generator=rng).to(p)).clamp(0, 1) for p in photos
        ]
    if cfg.stand_in == "resize":
        return resize.smooth(photos, ldm, resize.Config(scale=cfg.scale), rng=rng)

    def enlarged(photo: Tensor) -> Tensor:
        height, width = photo.shape[-2:]
        small = resize.to_size(photo, *_small(photo, cfg.scale), "lanczos")
        large = super_resolution.load(photo.device)(small[None])[0].clamp(0, 1)
        return resize.to_size(large, height, width, "lanczos")

    return [enlarged(p) for p in photos]


def _small(photo: Tensor, scale: float) -> tuple[int, int]:
    """Return the height and width of a photo that was made small."""
    height, width = (max(1, round(side * scale)) for side in photo.shape[-2:])
    return height, width
