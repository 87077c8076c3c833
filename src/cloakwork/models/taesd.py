"""TAESD's own two files, as its author publishes them: plain numbered layers, of the encoder in one
file and of the decoder in the other.

AutoencoderTiny of diffusers has the same layers under other names. TAEF2, the one for FLUX.2, has
blocks with a global part, which AutoencoderTiny cannot hold; they are stated here. Its 32 channels
are what FLUX.2's denoiser sees, but not packed: 2 x 2 of them, side by side in channels, are the
128 channels of the pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor, nn

from cloakwork.errors import UserError

POOL_GROUPS = 4  # of the norm that makes a block's pool global


def find_files(folder: Path) -> list[Path]:
    """Return TAESD's two files, the encoder's first; none where diffusers would read the folder."""
    encoders, decoders = (list(folder.glob(f"*_{p}.safetensors")) for p in ("encoder", "decoder"))
    whole = len(encoders) == len(decoders) == 1 and not (folder / "config.json").exists()
    return [*encoders, *decoders] if whole else []


def load_files(encoder: Path, decoder: Path) -> Any:
    """Load TAESD's two files into an AutoencoderTiny of diffusers, frozen and in fp32.

    Raises:
        UserError: damaged files, or other layers.
    """
    try:
        return from_layers(load_file(encoder), load_file(decoder))
    except Exception as error:  # damaged files make the libraries raise nearly anything
        raise UserError(
            f"The files {encoder.name} and {decoder.name} do not hold TAESD's layers."
        ) from error


def from_layers(encoder: Mapping[str, Tensor], decoder: Mapping[str, Tensor]) -> Any:
    """Return an AutoencoderTiny with these layers, frozen and in fp32.

    The numbers are those of diffusers, less one in the decoder, whose first layer only clamps.
    """
    from diffusers import AutoencoderTiny

    layers = {f"encoder.layers.{k}": v.float() for k, v in encoder.items()}
    layers |= {
        re.sub(r"^(\d+)", lambda n: f"decoder.layers.{int(n[0]) - 1}", k): v.float()
        for k, v in decoder.items()
    }
    last = max(encoder, key=lambda k: int(k.partition(".")[0]))
    vae = AutoencoderTiny(latent_channels=len(encoder[last]))
    for part, number in sorted(_pooled(layers)):
        of = getattr(vae, part).layers
        of[number] = PooledBlock(of[number], layers[f"{part}.layers.{number}.pool.0.weight"])
    vae.load_state_dict(layers)
    return vae.eval().requires_grad_(False)


def _pooled(layers: Iterable[str]) -> set[tuple[str, int]]:
    """Return the blocks with a pool: the part that they are in, and their number there.

    >>> _pooled(["encoder.layers.11.pool.0.weight", "encoder.layers.11.conv.0.weight"])
    {('encoder', 11)}
    """
    found = (re.match(r"(\w+)\.layers\.(\d+)\.pool\.", name) for name in layers)
    return {(match[1], int(match[2])) for match in found if match}


class PooledBlock(nn.Module):
    """A block of TAEF2's middle: it first adds what a pool says of the whole picture.

    y = x + pool(x), then relu(conv(y) + y) as any other block of TAESD. The pool widens the
    channels, normalises them over the picture, and narrows them again.
    """

    def __init__(self, block: nn.Module, wide: Tensor) -> None:
        """Make it of a plain block; the pool's first weight (w x c x 1 x 1) says how wide it is."""
        super().__init__()
        width, channels = wide.shape[:2]
        self.conv = block.conv
        self.pool = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            nn.GroupNorm(POOL_GROUPS, width),
            nn.ReLU(),
            nn.Conv2d(width, channels, 1, bias=False),
        )
        self.fuse = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return what comes of n x c x h x w."""
        x = x + self.pool(x)
        return self.fuse(self.conv(x) + x)  # type: ignore[operator]
