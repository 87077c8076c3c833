"""Pictures that a model learns from, encoded once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cloakwork.models.ldm import LDM
from cloakwork.types import Images


@dataclass(frozen=True)
class LatentDataset:
    """Pictures that a model learns from, as latents, and the words that go with them."""

    latents: Tensor
    """n x c x h x w, scaled"""
    prompt: str


@torch.no_grad()
def encode_dataset(ldm: LDM, pictures: Images, prompt: str) -> LatentDataset:
    """Encode pictures (n x 3 x S x S in [0, 1]) to the posterior's mean, eight at a time."""
    ldm = replace(ldm, sample_posterior=False)
    return LatentDataset(
        torch.cat([ldm.encode(part.to(ldm.device)) for part in pictures.split(8)]), prompt
    )
