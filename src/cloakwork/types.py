"""Names of the two shapes that pictures have, and of how far they may change."""

from __future__ import annotations

from typing import Literal, TypeAlias

from torch import Tensor

Photos: TypeAlias = list[Tensor]
"""What people have: each 3 x H x W, float32, RGB, in [0, 1], of any size."""

Images: TypeAlias = Tensor
"""What a model sees: n x 3 x S x S in [0, 1]."""

Limit: TypeAlias = float | Tensor
"""How far a photo may change, 1/255; or each of its pixels, 1 x H x W."""

Strength: TypeAlias = Literal["uniform", "faint", "normal", "strong"]
"""How the budget follows the photo: `uniform`, it is the same for every pixel; else a pixel may
change by a share of what the eye would notice, and never by more than the budget (see
`photos.visibility`)."""
