"""Names of the two shapes that pictures have."""

from __future__ import annotations

from typing import TypeAlias

from torch import Tensor

Photos: TypeAlias = list[Tensor]
"""What people have: each 3 x H x W, float32, RGB, in [0, 1], of any size."""

Images: TypeAlias = Tensor
"""What a model sees: n x 3 x S x S in [0, 1]."""
