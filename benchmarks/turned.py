"""The package's patterns in the eight ways in which a square can be turned and mirrored.

    python benchmarks/turned.py FOLDER

As many keys, of which none fits the other: `subtract` looks for a pattern as it lies. A remover
that has learned from all of them (`cloakwork train-purifier PHOTO ... -o NET --protection
learned:weights=FOLDER`) is what `blind.py --network NET` tries on patterns that it never saw.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from cloakwork.models import protector


def turned(pattern: Tensor) -> list[Tensor]:
    """A pattern (3 x S x S) in eight ways."""
    both = (pattern, pattern.flip(-1))
    return [torch.rot90(p, quarters, (-2, -1)) for p in both for quarters in range(4)]


def main() -> None:
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    patterns = protector.load(protector.EMBEDDED, torch.device("cpu"))
    protector.save(torch.stack([t for p in patterns for t in turned(p)]), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
