"""Where PGD begins: at the photos, or at what another protection has made of them in a moment."""

from __future__ import annotations

from dataclasses import replace

import torch

from cloakwork import specs
from cloakwork.errors import UserError
from cloakwork.state import RunState
from cloakwork.types import Photos


def method(text: str) -> specs.Method:
    """Return the protection that PGD is to start from.

    Args:
        text: as of `specs.parse`.

    Raises:
        UserError: an unknown protection, or one that asks surrogates itself.

    >>> method("noise").name
    'noise'
    """
    first = specs.parse("protections", text)
    if getattr(first.module, "USES_SURROGATES", True):
        raise UserError(
            f"PGD cannot start from '{first.name}', which computes against models itself. "
            "Name a protection that needs none, such as learned or noise."
        )
    return first


def photos(text: str, originals: Photos, budget: float, state: RunState) -> Photos:
    """Return where PGD begins.

    Args:
        text: of the protection; "": at the originals.
        originals: each 3 x H x W in [0, 1].
        budget: of the protection that goes on from there, 1/255.
        state: knows how far each photo may change.

    Returns:
        As many photos of the same sizes; none for "".
    """
    if not text:
        return []
    first = method(text)
    # not the run's own generator: what PGD draws is to be the same from everywhere
    rng = torch.Generator().manual_seed(0)
    return first.module.protect(
        originals,
        [],
        replace(first.config, budget=budget),
        clean=None,
        rng=rng,
        state=RunState(limits=state.limits),
    )
