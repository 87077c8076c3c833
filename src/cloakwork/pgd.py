"""The one PGD loop: l-infinity, sign steps, photos of any sizes at once.

Budgets and steps are in 1/255 of the pixel range. The loss of one photo may not depend on the others of its batch in any
other way than through a common factor: a sign step only sees each photo's own gradient, so micro-batches change nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.state import State
from cloakwork.types import Photos

Loss = Callable[[Photos, list[int]], Tensor]  # some of the photos and their places in the set -> a scalar to raise
MICRO_BATCH = 8  # photos whose graphs live at once; part of the record, since another batching changes the bytes


def project(x: Photos, x0: Photos, budget: float) -> Photos:
    """The nearest photos to x that differ from x0 by at most `budget` / 255 and stay in [0, 1]. Idempotent."""
    eps = budget / 255
    return [torch.min(torch.max(a, b - eps), b + eps).clamp_(0, 1) for a, b in zip(x, x0, strict=True)]


def gradient(loss: Loss, x: Photos, which: list[int]) -> tuple[float, Photos]:
    """The loss of one micro-batch of photos (`which`: their places in the set) and its gradient by each of them.

    Raises:
        UserError: a gradient is not finite.
    """
    leaves = [p.detach().requires_grad_(True) for p in x]
    value = loss(leaves, which)
    grads = list(torch.autograd.grad(value, leaves))
    if not all(torch.isfinite(g).all() for g in grads):
        raise UserError("A gradient is not finite, so nothing was protected; try --dtype float32 or another model.")
    return value.item(), grads


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
    trace: list[float] | None = None,
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
        trace: the loss of every step is appended to it (a state has one of its own).

    Raises:
        UserError: the gradient of a photo is not finite.
    """
    step = budget / 10 if step is None else step
    x = [p.clone() for p in start or x0]
    if random_start:
        x = project([p + budget / 255 * (2 * torch.rand(p.shape, generator=rng) - 1).to(p.device) for p in x], x0, budget)
    running = [torch.zeros_like(p) for p in x] if momentum else []
    first, saved = (0, {}) if state is None else state.resume(rng)
    if saved:
        x = [saved[f"x.{i}"].to(p.device) for i, p in enumerate(x)]
        running = [saved[f"m.{i}"].to(p.device) for i, p in enumerate(running)]
    for k in range(first, steps):
        size = step / 255 * (1 + (final_step - 1) * k / steps)
        total = 0.0
        for batch in torch.arange(len(x)).split(MICRO_BATCH):
            which = batch.tolist()
            value, grads = gradient(loss, [x[i] for i in which], which)
            total += value * len(which) / len(x)
            for i, g in zip(which, grads, strict=True):
                if momentum:
                    g = running[i] = momentum * running[i] + g / g.abs().mean().clamp(min=1e-12)
                x[i] = project([x[i] + size * g.sign()], [x0[i]], budget)[0]
        if trace is not None:
            trace.append(total)
        if state is not None:
            state.trace.append(total)
            state.keep(k + 1, steps, rng, lambda: _numbered("x", x) | _numbered("m", running))
    return x


def _numbered(prefix: str, photos: Photos) -> dict[str, Tensor]:
    return {f"{prefix}.{i}": p for i, p in enumerate(photos)}
