"""TAESD's tiny autoencoders in their published layout, from which the embedded ones learn: plain
numbered layers, pictures in [0, 1], latents scaled as a denoiser sees them."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

WIDTH = 64
POOLED = 256  # channels of the part that looks at the whole picture (taef2 alone)


class Teacher(nn.Module):
    """The encoder and the decoder of a folder with `*_encoder.safetensors` and
    `*_decoder.safetensors`; latent channels and pooling blocks are read off the weights."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        encoder, decoder = (
            load_file(next(folder.glob(f"*_{part}.safetensors"))) for part in ("encoder", "decoder")
        )
        self.channels = decoder["1.weight"].shape[1]
        pooled = "11.pool.0.weight" in encoder
        self.encoder = _encoder(self.channels, pooled)
        self.decoder = _decoder(self.channels, pooled)
        self.encoder.load_state_dict(encoder)
        self.decoder.load_state_dict(decoder)
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def encode(self, x: Tensor) -> Tensor:
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z).clamp(0, 1)

    def features(self, x: Tensor) -> list[Tensor]:
        """What the encoder's stages give at a half, a quarter and an eighth of the size, then the
        latents."""
        found = []
        for i, layer in enumerate(self.encoder):
            x = layer(x)
            if i in (5, 9, 13, 14):
                found.append(x)
        return found


class _Block(nn.Module):
    def __init__(self, pooled: bool = False) -> None:
        super().__init__()
        layers = [m for _ in range(3) for m in (nn.Conv2d(WIDTH, WIDTH, 3, padding=1), nn.ReLU())]
        self.conv = nn.Sequential(*layers[:-1])
        self.pool = None
        if pooled:
            self.pool = nn.Sequential(
                nn.Conv2d(WIDTH, POOLED, 1, bias=False),
                nn.GroupNorm(4, POOLED),
                nn.ReLU(),
                nn.Conv2d(POOLED, WIDTH, 1, bias=False),
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.pool is not None:
            x = x + self.pool(x)
        return F.relu(self.conv(x) + x)


class _Squash(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(z / 3) * 3


def _encoder(channels: int, pooled: bool) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1), _Block()]
    for stage in range(3):
        layers += [
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, stride=2, bias=False),
            *(_Block(pooled and stage == 2) for _ in range(3)),
        ]
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, channels, 3, padding=1))


def _decoder(channels: int, pooled: bool) -> nn.Sequential:
    layers: list[nn.Module] = [_Squash(), nn.Conv2d(channels, WIDTH, 3, padding=1), nn.ReLU()]
    for stage in range(3):
        layers += [
            *(_Block(pooled and stage == 0) for _ in range(3)),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
        ]
    return nn.Sequential(*layers, _Block(), nn.Conv2d(WIDTH, 3, 3, padding=1))
