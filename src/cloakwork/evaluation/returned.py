"""What a method gave back, refused where it is not what was asked for: nothing is written then.

The methods of this package never give it cause. It is for anybody's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from cloakwork.errors import NotFinite, UserError
from cloakwork.specs import Method
from cloakwork.types import Photos

OVER_BUDGET = 0.01  # 1/255; what floats may go over a budget by
OUT_OF_RANGE = 1e-3  # a quarter of a level: no byte of a file is another one for it


def check_photos(method: Method, given: Photos, made: Any) -> None:
    """Check that a protection or a purifier gave back photos of the sizes it was given; of any
    sizes where it declares SHRINKS.

    Raises:
        UserError: another number or size, no floats in [0, 1].
        NotFinite: a pixel that is not a number, or infinite.
    """
    if not isinstance(made, list | tuple | Tensor) or len(made) != len(given):
        raise UserError(
            f"{title(method)} returned {_amount(made)} for {_photos(len(given))}. "
            "It must return a list of as many photos."
        )
    for i, (before, after) in enumerate(zip(given, made, strict=True)):
        which = f"photo {i + 1} of {len(given)}"
        if not isinstance(after, Tensor) or not _fits(method, before, after):
            raise UserError(
                f"{title(method)} returned {which} as {_shape(after)}, and was given "
                f"{_shape(before)}. It must return photos of the sizes that it was given."
            )
        _check_pixels(method, after, which)


def check_budget(method: Method, deltas: Sequence[Tensor]) -> None:
    """Check that what a protection adds to photos keeps the budget of its Config.

    Raises:
        UserError: a pixel changes by more.
    """
    used = max((255 * d.abs().max().item() for d in deltas), default=0.0)
    if used > method.config.budget + OVER_BUDGET:
        raise UserError(
            f"{title(method)} changed a pixel by {used:.1f} of 255; its budget is "
            f"{method.config.budget:g}. Bring the photos back within it by "
            "cloakwork.perturbation.pgd.project."
        )


def check_pictures(method: Method, prompts: Sequence[str], made: Any) -> None:
    """Check that an attacker gave back as many pictures for each prompt.

    Raises:
        UserError: another number or shape, no floats in [0, 1].
        NotFinite: a pixel that is not a number, or infinite.
    """
    if not isinstance(made, Tensor) or made.ndim != 4 or made.shape[1] != 3:
        raise UserError(
            f"{title(method)} returned {_shape(made)}. "
            "It must return one tensor of pictures, n x 3 x S x S."
        )
    if not len(made) or len(made) % max(1, len(prompts)):
        raise UserError(
            f"{title(method)} returned {len(made)} pictures for {len(prompts)} prompts. "
            "It must return as many for each, one at least."
        )
    _check_pixels(method, made, "its pictures")


def title(method: Method) -> str:
    """Return a method as the subject of a sentence.

    >>> title(Method("purifiers", "jpeg", None))
    "The purifier 'jpeg'"
    """
    return f"The {method.kind.removesuffix('s')} '{method.name}'"


def _check_pixels(method: Method, pixels: Tensor, which: str) -> None:
    """Check that pixels are floats in [0, 1]."""
    if not pixels.is_floating_point():
        raise UserError(
            f"{title(method)} returned {which} as {str(pixels.dtype).removeprefix('torch.')}. "
            "It must return float32 in [0, 1]."
        )
    if not pixels.isfinite().all():
        raise NotFinite(
            f"{title(method)} returned {which} with pixels that are no numbers (NaN) or infinite. "
            "Look for a division by zero, or try --dtype float32."
        )
    low, high = pixels.min().item(), pixels.max().item()
    if low < -OUT_OF_RANGE or high > 1 + OUT_OF_RANGE:
        raise UserError(
            f"{title(method)} returned {which} with values from {low:.2f} to {high:.2f}. "
            "Pixels are in [0, 1]; clamp them."
        )


def _fits(method: Method, before: Tensor, after: Tensor) -> bool:
    """Return whether a photo has a shape that the method may give it."""
    if getattr(method.module, "SHRINKS", False):
        smaller = all(0 < b <= a for a, b in zip(before.shape[1:], after.shape[1:], strict=True))
        return after.ndim == 3 and len(after) == 3 and smaller
    return after.shape == before.shape


def _photos(n: int) -> str:
    """Return a number of photos in words.

    >>> _photos(1)
    '1 photo'
    """
    return f"{n} photo{'s' * (n != 1)}"


def _amount(made: Any) -> str:
    """Return how much there is of something, in words.

    >>> _amount([1, 2]), _amount(None)
    ('2 photos', 'a NoneType')
    """
    sized = isinstance(made, list | tuple | Tensor)
    return _photos(len(made)) if sized else f"a {type(made).__name__}"


def _shape(made: Any) -> str:
    """Return the shape of a tensor in words, or the type of what is none.

    >>> import torch
    >>> _shape(torch.zeros(3, 4, 5)), _shape([])
    ('3 x 4 x 5', 'a list')
    """
    if not isinstance(made, Tensor):
        return f"a {type(made).__name__}"
    return " x ".join(map(str, made.shape)) or "one number"
