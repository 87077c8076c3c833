"""Where PGD begins: at the photos, or at what another protection has made of them in a moment."""

from __future__ import annotations

from dataclasses import replace

import torch

from cloakwork import registry, specs
from cloakwork.errors import UserError
from cloakwork.specs.notation import starting
from cloakwork.state import RunState
from cloakwork.types import Photos


def refined(first: specs.Method, steps: int) -> specs.Method:
    """Return PID that goes on from a protection with some steps, within its budget and strength.

    Args:
        first: a protection that asks no surrogate.
        steps: of PGD; 20 in PID's preset "refined".

    Raises:
        UserError: no step, or a protection that asks surrogates.
    """
    if steps < 1:
        raise UserError(f"refine {steps}: give a number of PGD steps, such as 20.")
    starting(first.name)
    pid = specs.parse("protections", "pid:refined")
    config, usual = first.config, registry.config(first.module, None, ("tiny",))
    own = {n: getattr(config, n) for n in ("budget", "strength") if hasattr(config, n)}
    # those are PID's from here on, so that where it starts need not name them
    begun = replace(first, config=replace(config, **{n: getattr(usual, n) for n in own}))
    return replace(pid, config=replace(pid.config, steps=steps, start=specs.word(begun), **own))


def photos(first: specs.Method | None, originals: Photos, budget: float, state: RunState) -> Photos:
    """Return where PGD begins.

    Args:
        first: the protection that it begins with; None: at the originals.
        originals: each 3 x H x W in [0, 1].
        budget: of the protection that goes on from there, 1/255.
        state: knows how far each photo may change.

    Returns:
        As many photos of the same sizes; none where it begins at the originals.
    """
    if first is None:
        return []
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
