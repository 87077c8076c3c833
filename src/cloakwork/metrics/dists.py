"""DISTS: how different two photos look, by structure and texture in a VGG16 that you name.

Ding et al., arXiv 2004.07728: a texture that was exchanged for another of its kind counts little,
where LPIPS counts every pixel. As released, photos are made small first: to a short side of 256 px,
where theirs is longer. There is no embedded VGG16: name a hub id (timm/vgg16.tv_in1k) or a folder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import Unscored
from cloakwork.files import hash_files
from cloakwork.models import hub
from cloakwork.models.dists import DISTS, load_dists
from cloakwork.photos.tensors import floats
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 1
METRIC = MetricInfo(scope="image", better="lower", range=(0, 1), unit="", reference="originals")
SIDE = 256
SMALLEST = 16  # px: VGG16 halves four times


@dataclass(frozen=True)
class Config:
    """Which network."""

    vgg: str = ""
    """hub id (timm/vgg16.tv_in1k) or folder of a VGG16 under torchvision's names"""


def instrument(cfg: Config) -> str:
    """Name the network and its weights."""
    folder, _ = _load(cfg.vgg)
    return f"DISTS, VGG16 {cfg.vgg} (weights {hash_files(folder.glob('*.safetensors'))})"


@torch.no_grad()
def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n distances of n photos (3 x H x W in [0, 1]) to their originals; NaN below 16 px."""
    _, net = _load(cfg.vgg)
    return torch.stack([_distance(net, a, b) for a, b in zip(images, reference, strict=True)])


def _distance(net: DISTS, a: Tensor, b: Tensor) -> Tensor:
    """Compare a photo with its original."""
    if min(a.shape[-2:]) < SMALLEST:
        return torch.tensor(float("nan"))
    return net(_small(a), _small(b))[0].clamp(0, 1)


def _small(photo: Tensor) -> Tensor:
    """Return a photo as 1 x 3 x h x w, its short side at most 256 px."""
    scale = SIDE / min(photo.shape[-2:])
    x = floats(photo)[None]
    if scale >= 1:
        return x
    size = [round(side * scale) for side in x.shape[-2:]]
    return F.interpolate(x, size, mode="bilinear", antialias=True)


def _load(name: str) -> tuple:
    """Load the network from a VGG16's hub id or folder: the folder and the network.

    Raises:
        Unscored: none is named, or it is none.
    """
    if not name:
        raise Unscored(
            "'dists' has no VGG16 of its own; give one as its field 'vgg', such as "
            "timm/vgg16.tv_in1k or a folder."
        )
    folder = hub.folder(name)
    try:
        return folder, load_dists(folder)
    except Exception as error:  # damaged files make the libraries raise nearly anything
        raise Unscored(
            f"The model '{name}' is no VGG16; give one such as timm/vgg16.tv_in1k."
        ) from error
