"""The one way in which a protection, a purifier and an attacker are run, and what they draw from.

`protect` and `purify` run methods here, and so do the steps of an audit or a benchmark: the same
photos, method and seed give the same bytes whoever asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from cloakwork.evaluation.returned import check_budget, check_photos, check_pictures
from cloakwork.evaluation.sources import as_loaded
from cloakwork.files import hash_of
from cloakwork.perturbation import start
from cloakwork.photos.rounding import apply_perturbation
from cloakwork.photos.tensors import as_float, is_grey, neutral, to_bytes
from cloakwork.photos.visibility import follows, limits
from cloakwork.specs import Method
from cloakwork.state import RunState
from cloakwork.types import Images, Limit, Photos

# part of the keys of what `protect` and `purify` have written: raised whenever these generators
# change
SEEDING = 2
# part of the keys of what protects sets with grey photos: raised whenever what is done to them
# changes
KEPT_GREY = 1


def _generator(parts: object) -> torch.Generator:
    """Return a generator seeded by a hash of the parts."""
    return torch.Generator().manual_seed(int(hash_of(parts)[:15], 16))


def protection_rng(seed: int, inputs: Sequence[str]) -> torch.Generator:
    """Return what a protection draws from: seed and photos decide it, and nothing else.

    So two methods, budgets or formats are compared at the same random draws.

    Args:
        seed: of the run.
        inputs: the key of the photos, then that of the clean photos it may learn from, if any
            (`Source.key`).
    """
    return _generator([seed, list(inputs)])


def purifier_rng(seed: int, purifiers_before: int) -> torch.Generator:
    """Return what a purifier draws from: the seed, and its place in a chain.

    So clean, noisy and protected photos meet the same draws. The photos of a set take from it one
    after the other.
    """
    return _generator(["purify", seed, purifiers_before])


def attacker_rng(seed: int) -> torch.Generator:
    """Return what an attacker draws from: the seed alone.

    So attackers of clean and of protected photos meet the same batches, noise and sampling.
    """
    return _generator(["attack", seed])


def run_protection(
    method: Method,
    photos: Photos,
    models: Sequence[Any],
    *,
    clean: Photos | None,
    rng: torch.Generator,
    state: RunState,
    masks: Sequence[Tensor] | None = None,
) -> list[Tensor]:
    """Return what a protection adds to each photo, floats on the CPU, of the photos' sizes.

    A grey photo stays grey, whatever the protection: all its channels change by the same.

    Args:
        method: the protection.
        photos: working copies, each 3 x H x W in [0, 1], on the models' device.
        models: the surrogates.
        clean: unprotected photos that it may learn from (set A).
        rng: as `protection_rng` gives it.
        state: of this run.
        masks: of each photo, 1 x H x W, 1 where it may change; None: everywhere.

    Raises:
        UserError: what it returned are no photos of the same sizes, or they exceed the budget.
    """
    state.limits = limits(photos, method.config, masks) if masks or follows(method.config) else ()
    state.start = start.photos(method.begins, photos, method.config.budget, state)
    protected = method.module.protect(
        photos, list(models), method.config, clean=clean, rng=rng, state=state
    )
    check_photos(method, photos, protected)
    deltas = [(a - b).detach().cpu() for a, b in zip(protected, photos, strict=True)]
    check_budget(method, deltas)
    return [
        neutral(delta) if is_grey(photo) and not is_grey(delta) else delta
        for photo, delta in zip(photos, deltas, strict=True)
    ]


def add_within(method: Method, photo: Tensor, delta: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return a photo with what a protection adds to it, at 8 bits, within the protection's limits.

    Args:
        method: the protection.
        photo: the original, 3 x H x W, uint8.
        delta: as `run_protection` gives it, of the photo's size or of its working copy's.
        mask: 1 x H x W, 1 where the photo may change; None: everywhere.

    Returns:
        3 x H x W, uint8.
    """
    limit: Limit = method.config.budget
    if follows(method.config):  # else a copy of a large photo would be made for nothing
        (limit,) = limits([as_loaded(photo)], method.config)
    changed = apply_perturbation(photo, delta, limit)
    return changed if mask is None else torch.where(mask.bool(), changed, photo)


def run_purifier(method: Method, photo: Tensor, model: Any, rng: torch.Generator) -> Tensor:
    """Return a photo after a purifier, at 8 bits as a file would hold it.

    Args:
        method: the purifier.
        photo: 3 x H x W, uint8.
        model: of the kind that it asks for, or None.
        rng: as `purifier_rng` gives it; it has moved on by what the photos before took from it.

    Returns:
        3 x H x W, uint8, on the CPU.

    Raises:
        UserError: what it returned is no photo of the same size.
    """
    x = as_float(photo)
    pure = method.module.purify([x], model, method.config, rng=rng)
    check_photos(method, [x], pure)
    return to_bytes(pure[0]).cpu()


def run_attacker(
    method: Method,
    photos: Photos,
    victim: Any,
    prompts: Sequence[str],
    *,
    masks: list[Tensor] | None,
    rng: torch.Generator,
    state: RunState,
) -> Images:
    """Return what an attacker gets from photos, n x 3 x S x S in [0, 1].

    Args:
        method: the attacker.
        photos: each 3 x H x W in [0, 1], on the victim's device.
        victim: the model it uses.
        prompts: what it asks for.
        masks: of the photos' sizes, for attackers that repaint.
        rng: as `attacker_rng` gives it.
        state: of this run.

    Raises:
        UserError: what it returned are no pictures, or not as many for each prompt.
    """
    pictures = method.module.attack(
        photos, victim, method.config, list(prompts), masks=masks, rng=rng, state=state
    )
    check_pictures(method, prompts, pictures)
    return pictures
