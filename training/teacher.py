"""TAESD's tiny autoencoders, from which the embedded ones learn: pictures in [0, 1], latents scaled
as a denoiser sees them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from cloakwork.models import taesd

STAGES = (5, 9, 13)  # the encoder's layers that end at a half, a quarter and an eighth of the size


class Teacher:
    """The encoder and the decoder of a folder with `*_encoder.safetensors` and
    `*_decoder.safetensors`."""

    def __init__(self, folder: Path) -> None:
        files = taesd.find_files(folder)
        if not files:
            raise SystemExit(f"{folder} holds no *_encoder.safetensors and *_decoder.safetensors.")
        vae = taesd.load_files(*files).to(memory_format=torch.channels_last)
        self.encoder, self.decoder = vae.encoder.layers, vae.decoder

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return (self.decoder(z) / 2 + 0.5).clamp(0, 1)

    def features(self, x: Tensor) -> list[Tensor]:
        """What the encoder's stages give, then the latents."""
        found = []
        for i, layer in enumerate(self.encoder):
            x = layer(x)
            if i in STAGES:
                found.append(x)
        return [*found, x]
