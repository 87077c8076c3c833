"""CLIP (Radford et al., arXiv 2103.00020) as metrics use it: any `CLIPModel`, the embedded one
included.

Pictures are prepared in torch as the published processor does: short side to the model's size
(bicubic, antialiased; the long side's fraction of a pixel is dropped), centre crop, CLIP's mean and
deviation. The processor rounds to 8 bits after resizing, which is not done here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.errors import Unscored
from cloakwork.files import ASSETS, hash_files
from cloakwork.models import hub
from cloakwork.models.pretrained_parts import read_part
from cloakwork.types import Images, Photos

EMBEDDED_CLIP = ASSETS / "tiny-clip"
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CLIP_MICRO_BATCH = 16  # pictures embedded at a time


@dataclass(frozen=True, eq=False)
class Clip:
    """A frozen CLIPModel in fp32 on the CPU.

    Attributes:
        name: what the user asked for: "tiny", a folder, a hub id.
        weights: first 12 hex digits of the sha256 over its safetensors.
    """

    name: str
    weights: str
    model: Any
    tokenizer: Any

    def __str__(self) -> str:
        return f"CLIP {self.name} (weights {self.weights})"

    @property
    def size(self) -> int:
        """The side of the square that the vision tower sees, pixels."""
        return self.model.config.vision_config.image_size

    @property
    def scale(self) -> float:
        """The learned factor of cosines before a softmax; 100 in the published models."""
        return self.model.logit_scale.exp().item()

    @torch.no_grad()
    def pictures(self, images: Images | Photos) -> Tensor:
        """Embed pictures of any size (3 x H x W in [0, 1]): n x d, not normalised."""
        views = torch.stack([square(x, self.size) for x in images])
        return torch.cat([self.pixels(x) for x in views.split(CLIP_MICRO_BATCH)])

    @torch.no_grad()
    def pixels(self, x: Images) -> Tensor:
        """Embed squares that have the model's size already: n x d, not normalised."""
        return self.model.get_image_features(pixel_values=standardise(x, MEAN, STD)).pooler_output

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Tensor:
        """Embed texts: n x d, not normalised. What is longer than the model reads is cut."""
        tokens = self.tokenizer(
            list(prompts), padding=True, truncation=True, max_length=77, return_tensors="pt"
        )
        return self.model.get_text_features(
            tokens.input_ids, attention_mask=tokens.attention_mask
        ).pooler_output

    def choose(self, images: Images | Photos, prompts: Sequence[str]) -> Tensor:
        """Compute how likely each of several texts is for each picture.

        Returns:
            n x len(prompts), the softmax of the scaled cosines.
        """
        x, c = (F.normalize(e, dim=-1) for e in (self.pictures(images), self.texts(prompts)))
        return (self.scale * x @ c.T).softmax(-1)


@cache
def load_clip(name: str = "tiny") -> Clip:
    """Load a CLIP by name: "tiny", a folder, a hub id such as openai/clip-vit-base-patch32.

    Raises:
        Unscored: there is no such model, or it is no CLIP.
    """
    folder, what = EMBEDDED_CLIP if name == "tiny" else hub.folder(name), f"The CLIP model '{name}'"
    model = read_part(
        "transformers.CLIPModel",
        folder,
        what,
        Unscored,
        local_files_only=True,
        use_safetensors=True,
        dtype=torch.float32,
    )
    tokenizer = read_part(
        "transformers.CLIPTokenizer", folder, what, Unscored, local_files_only=True
    )
    weights = hash_files(folder.glob("*.safetensors"))
    return Clip(name, weights, model.eval().requires_grad_(False), tokenizer)


def square(x: Tensor, size: int) -> Tensor:
    """Resize a photo's short side to `size` pixels (bicubic, antialiased) and cut the centre.

    >>> square(torch.zeros(3, 48, 64), 32).shape
    torch.Size([3, 32, 32])
    """
    short = min(x.shape[-2:])
    if short != size:
        shape = [size * n // short for n in x.shape[-2:]]
        x = F.interpolate(x[None], shape, mode="bicubic", antialias=True)[0].clamp(0, 1)
    top, left = (x.shape[-2] - size) // 2, (x.shape[-1] - size) // 2
    return x[..., top : top + size, left : left + size]


def standardise(x: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Subtract a mean from the three colours (n x 3 x H x W) and divide by a deviation."""
    return (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
