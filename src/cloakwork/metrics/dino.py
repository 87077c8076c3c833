"""DINO: cosine with the mean unit embedding of the clean photos, in a network that you name.

DINO (Caron et al., arXiv 2104.14294) as DreamBooth (arXiv 2208.12242) uses it: the class token of
ViT-S/16; short side 256, centre 224, ImageNet statistics. DreamBooth averages the cosines over all
pairs; see clip_i. Other ViTs of transformers (DINOv2) work too, at the size of their config. There
is no embedded one: name a hub id (facebook/dino-vits16) or a folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import Unscored
from cloakwork.files import hash_files
from cloakwork.models import hub
from cloakwork.models.clip import square, standardise
from cloakwork.models.pretrained_parts import read_part
from cloakwork.registry import MetricInfo
from cloakwork.types import Images, Photos

VERSION = 2  # 1 rounded the long side of a resized photo; it is truncated, as published recipes do
METRIC = MetricInfo(scope="image", better="higher", range=(-1, 1), unit="", reference="subject")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet
DINO_MICRO_BATCH = 16


@dataclass(frozen=True)
class Config:
    """Which network."""

    dino: str = ""
    """hub id (facebook/dino-vits16) or folder of a DINO ViT"""


def instrument(cfg: Config) -> str:
    """Name the network and its weights."""
    return _load(cfg.dino)[0]


@torch.no_grad()
def score(
    images: Images | Photos, reference: Photos, prompts: list[str] | None, cfg: Config
) -> Tensor:
    """Return n cosines for n pictures (3 x H x W in [0, 1]) and any clean photos of the subject."""
    _, model = _load(cfg.dino)
    mean = F.normalize(_embed(model, reference), dim=-1).mean(0)
    return F.cosine_similarity(_embed(model, images), mean[None])


@cache
def _load(name: str) -> tuple[str, Any]:
    """Load a vision transformer by hub id or folder: its name with its weights, and the model.

    Raises:
        Unscored: none is named, or it is none.
    """
    if not name:
        raise Unscored(
            "'dino' has no network of its own; give one as its field 'dino', such as "
            "facebook/dino-vits16 or a folder."
        )
    folder, what = hub.folder(name), f"The model '{name}'"
    model = read_part(
        "transformers.AutoModel",
        folder,
        what,
        Unscored,
        local_files_only=True,
        use_safetensors=True,
        dtype=torch.float32,
    )
    if not (hasattr(model.config, "image_size") and hasattr(model.config, "patch_size")):
        raise Unscored(f"{what} is no vision transformer; give one such as facebook/dino-vits16.")
    weights = hash_files(folder.glob("*.safetensors"))
    return f"DINO {name} (weights {weights})", model.eval().requires_grad_(False)


def _embed(model: Any, images: Images | Photos) -> Tensor:
    """Return the class tokens of n pictures, n x d."""
    size = model.config.image_size
    # the published recipe cuts the centre 224 of 256: a margin of an eighth goes
    views = torch.stack([square(square(x, round(size * 8 / 7)), size) for x in images])
    return torch.cat(
        [_tokens(model, standardise(x, MEAN, STD)) for x in views.split(DINO_MICRO_BATCH)]
    )


def _tokens(model: Any, x: Tensor) -> Tensor:
    """Return the class tokens of n standardised pictures (n x 3 x S x S), n x d."""
    return model(pixel_values=x).last_hidden_state[:, 0]
