"""The one PGD loop: l-infinity, sign steps, photos of any sizes at once.

Budgets and steps are in 1/255 of the pixel range. The loss of one photo may not depend on the others of its batch in any
other way than through a common factor: a sign step only sees each photo's own gradient, so micro-batches change nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cloakwork.state import State
from cloakwork.types import Photos

Loss = Callable[[Photos, list[int]], Tensor]  # some of the photos and their places in the set -> a scalar to raise
MICRO_BATCH = 8  # photos whose graphs live at once; part of the record, since another batching changes the bytes


def project(x: Photos, x0: Photos, budget: float) -> Photos:
    """The nearest photos to x that differ from x0 by at most `budget` / 255 and stay in [0, 1]. Idempotent."""
    eps = budget / 255
    return [torch.min(torch.max(a, b - eps), b + eps).clamp_(0, 1) for a, b in zip(x, x0, strict=True)]


def gradient(loss: Loss, x: Photos) -> tuple[float, Photos]:
    """Mean loss over the photos and its gradient by each of them, micro-batch by micro-batch."""
    total, grads = 0.0, []
    for first in range(0, len(x), MICRO_BATCH):
        leaves = [p.detach().requires_grad_(True) for p in x[first : first + MICRO_BATCH]]
        value = loss(leaves, list(range(first, first + len(leaves))))
        grads += torch.autograd.grad(value, leaves)
        total += value.item() * len(leaves)
    return total / len(x), grads


def ascend(
    x0: Photos,
    loss: Loss,
    *,
    budget: float,
    step: float | None,
    steps: int,
    rng: torch.Generator,
    start: Photos | None = None,
    random_start: bool = False,
    final_step: float = 1.0,
    momentum: float = 0.0,
    state: State | None = None,
) -> Photos:
    """Photos within `budget` of x0 on which `loss` is higher (Madry et al., arXiv 1706.06083).

    Args:
        x0: the originals, each 3 x H x W in [0, 1].
        loss: what to raise; called once a step and micro-batch.
        budget: largest change of a pixel, 1/255.
        step: change per step, 1/255; None means budget / 10.
        steps: number of sign steps.
        rng: for the random start only.
        start: where to begin (else x0).
        random_start: begin at a uniform point of the budget's box.
        final_step: the step shrinks linearly to this share of itself.
        momentum: share of the running gradient kept (MI-FGSM, arXiv 1710.06081); gradients are then L1-normalised.
        state: checkpoints, resumes and shows progress; None for inner loops, whose caller does that.

    Raises:
        FloatingPointError: the gradient of a photo is not finite.
    """
    step = budget / 10 if step is None else step
    x = [p.clone() for p in start or x0]
    if random_start:
        x = project([p + budget / 255 * (2 * torch.rand(p.shape, generator=rng) - 1).to(p.device) for p in x], x0, budget)
    running = [torch.zeros_like(p) for p in x] if momentum else []
    first = 0
    if state is not None:
        first, saved = state.resume(rng)
        x = [saved.get(f"x.{i}", p).to(p.device) for i, p in enumerate(x)]
        running = [saved.get(f"m.{i}", p).to(p.device) for i, p in enumerate(running)]
    for k in range(first, steps):
        value, grads = gradient(loss, x)
        _check(grads)
        if momentum:
            running = [momentum * m + g / g.abs().mean().clamp(min=1e-12) for m, g in zip(running, grads, strict=True)]
            grads = running
        size = step / 255 * (1 + (final_step - 1) * k / steps)
        x = project([p + size * g.sign() for p, g in zip(x, grads, strict=True)], x0, budget)
        if state is not None:
            state.trace.append(value)
            state.keep(k + 1, steps, rng, lambda: _numbered("x", x) | _numbered("m", running))  # noqa: B023 - called at once
    return x


def _numbered(prefix: str, photos: Photos) -> dict[str, Tensor]:
    return {f"{prefix}.{i}": p for i, p in enumerate(photos)}


def _check(grads: Photos) -> None:
    if not all(torch.isfinite(g).all() for g in grads):
        raise FloatingPointError("A gradient is not finite; try --dtype float32.")
