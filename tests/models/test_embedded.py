"""The weights that come with the package: what the manifest says of them, and the encoders of whole
families."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from diffusers import AutoencoderTiny

from cloakwork.files import ASSETS
from cloakwork.models.latent_spaces import STUDENTS, WEIGHTS

CHANNELS = {"sd": 4, "sd3": 16, "flux2": 32}
STUDENT_BYTES = 3_000_000


def test_the_manifest_names_every_weight_file_as_it_is() -> None:
    said = json.loads((ASSETS / "manifest.json").read_text())["weights"]
    found = {
        str(file.relative_to(ASSETS)): {
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "bytes": file.stat().st_size,
        }
        for file in ASSETS.rglob("*.safetensors")
    }
    assert found == said


@pytest.mark.parametrize("family", sorted(folder.name for folder in STUDENTS.glob("*")))
@torch.no_grad()
def test_a_familys_encoder_is_small_and_gives_what_its_denoiser_sees(
    family: str, rng: torch.Generator
) -> None:
    vae = AutoencoderTiny.from_pretrained(STUDENTS / family)
    x = torch.rand(2, 3, 64, 96, generator=rng)
    z = vae.encode(2 * x - 1).latents
    assert z.shape == (2, CHANNELS[family], 8, 12) and 0.1 < z.std() < 3
    assert vae.config.scaling_factor == 1 and vae.config.shift_factor == 0
    assert (STUDENTS / family / WEIGHTS).stat().st_size < STUDENT_BYTES
