"""The one PGD loop: l-infinity, sign steps (or Adam's), photos of any sizes at once.

Budgets and steps are in 1/255 of the pixel range. What is stepped in may be something else than
pixels (`Parametrisation`); the budget is one of pixels all the same. The loss of one photo may not
depend on the others of its batch in any other way than through a common factor: a sign step only
sees each photo's own gradient, so micro-batches change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from cloakwork.models.counting import alike
from cloakwork.perturbation.parametrisation import PIXELS, Parametrisation
from cloakwork.photos.tensors import is_grey, neutral, send
from cloakwork.state import RunState, owned
from cloakwork.types import Limit, Photos

# a micro-batch of photos and their places in the set -> a scalar to raise
Loss = Callable[[Photos, list[int]], Tensor]
# a scalar; a tensor is not read until the run's state asks for it
Value = float | Tensor
# the same -> the scalar, and its gradient by each photo
Gradient = Callable[[Photos, list[int]], tuple[Value, Photos]]
# photos whose graphs live at once; part of the record, since another batching changes the bytes
MICRO_BATCH = 8
NOT_FINITE = (
    "A gradient is not finite, so nothing was protected; try --dtype float32 or another model."
)


@dataclass(frozen=True)
class ExtraState:
    """What changes along with the photos, such as weights that learn inside the gradient;
    checkpoints hold it too.
    """

    tensors: Callable[[], dict[str, Tensor]]
    """as they are now"""
    restore: Callable[[dict[str, Tensor]], None]
    """puts them back"""


def project(x: Photos, x0: Photos, budget: float | Sequence[Limit]) -> Photos:
    """Return the photos nearest to x that differ from x0 by at most `budget` / 255 and stay in
    [0, 1]; those of grey photos are grey. Idempotent.

    `budget` may be one for each photo, and of a photo a map of its pixels, 1 x H x W.

    >>> project([torch.tensor([0.5, 0.9])], [torch.tensor([0.4, 1.0])], budget=25.5)
    [tensor([0.5000, 0.9000])]
    >>> project([torch.tensor([0.9, 1.2])], [torch.tensor([0.4, 1.0])], budget=25.5)
    [tensor([0.5000, 1.0000])]
    """
    limits = budget if isinstance(budget, Sequence) else len(x0) * [budget]
    return [_project(a, b, lim, is_grey(b)) for a, b, lim in zip(x, x0, limits, strict=True)]


def _project(x: Tensor, x0: Tensor, budget: Limit, grey: bool) -> Tensor:
    """Return what `project` makes of one photo, of which it is known whether it is grey."""
    eps = budget / 255
    if grey:
        # what is grey already stays as it is, to the bit, and nobody waits to hear whether it is
        x = torch.where((x == x[:1]).all(), x, neutral(x))
    return torch.min(torch.max(x, x0 - eps), x0 + eps).clamp_(0, 1)


def by_autograd(loss: Loss) -> Gradient:
    """Return the gradient of a loss that is written out in torch.

    `losses.gradient` is leaner for losses on latents.

    >>> gradient = by_autograd(lambda x, which: x[0].square().sum())
    >>> gradient([torch.tensor([1.0, 3.0])], [0])
    (tensor(10.), [tensor([2., 6.])])
    """

    def gradient(x: Photos, which: list[int]) -> tuple[Value, Photos]:
        leaves = [p.detach().requires_grad_(True) for p in x]
        value = loss(leaves, which)
        return value.detach(), list(torch.autograd.grad(value, leaves))

    return gradient


def ascend(
    x0: Photos,
    gradient: Gradient,
    *,
    budget: float,
    step: float | None,
    steps: int,
    rng: torch.Generator,
    start: Photos | None = None,
    random_start: bool = False,
    final_step: float = 1.0,
    momentum: float = 0.0,
    update: Literal["sign", "adam"] = "sign",
    parametrise: Callable[[Tensor], Parametrisation] = lambda photo: PIXELS,
    carried: Sequence[ExtraState] = (),
    state: RunState,
    checkpoints: bool = True,
    steps_alike: bool = True,
) -> Photos:
    """Move photos, within `budget` of x0, to where something is higher (Madry et al., arXiv
    1706.06083).

    Args:
        x0: the originals, each 3 x H x W in [0, 1].
        gradient: of what is to be raised; called once a step and micro-batch.
        budget: largest change of a pixel, 1/255. Where `state.limits` has a map for a photo, that
            says how far each of its pixels may change, and steps are as much smaller.
        step: change per step, 1/255; None means budget / 10. In another parametrisation it is in
            that one's units, and has to be given.
        steps: number of steps.
        rng: for the random start only.
        start: where to begin (else where the state says, else x0).
        random_start: begin at a uniform point of the budget's box, if at no other photos.
        final_step: the step shrinks linearly to this share of itself.
        momentum: share of the running gradient kept (MI-FGSM, arXiv 1710.06081); gradients are then
            L1-normalised.
        update: the gradient's sign, or Adam's step (arXiv 1412.6980), of which `step` is the
            learning rate; no momentum then.
        parametrise: says for an original what it is written in; the gradient is taken, and the step
            made, by these parameters. What comes of it is kept within the budget pixel by pixel.
        carried: what `gradient` changes beside the photos; to be resumed with them.
        state: the value of every step is appended to its trace; knows the limits of the photos.
        checkpoints: let the state resume, keep checkpoints and show progress; not in inner loops,
            whose caller does that.
        steps_alike: `gradient` takes the same passes in every step (see `counting`).

    Returns:
        As many photos of the same sizes, in [0, 1].

    Raises:
        NotFinite: the gradient of a photo is not finite.
    """
    limits, adam = state.limits or len(x0) * [budget], update == "adam"
    begin = start or (state.start if checkpoints else ())
    moments = "mv" if adam else "m" if momentum else ""
    moving = _moving(x0, begin or x0, limits, parametrise, moments)
    if random_start and not begin:
        _scatter(moving, rng)
    move = partial(_move, budget=budget, step=budget / 10 if step is None else step)
    way = _adam if adam else partial(_sign, momentum)
    first, saved = state.resume(rng) if checkpoints else (0, {})
    if saved:
        _restore(moving, carried, saved)
    numbers = range(first, steps)
    for k in alike(numbers) if steps_alike else numbers:
        left = 1 + (final_step - 1) * k / steps
        said = _step(moving, gradient, partial(move, way=partial(way, k + 1), left=left))
        state.record(*said, NOT_FINITE)
        if checkpoints:
            state.checkpoint(k + 1, steps, rng, lambda: _tensors(moving, carried))
    return [p.x for p in moving]


@dataclass
class _Moving:
    """A photo on its way."""

    x: Tensor
    x0: Tensor
    limit: Limit
    space: Parametrisation
    grey: bool
    moments: dict[str, Tensor]
    """of its gradients, as momentum or Adam keep them"""


def _moving(
    x0: Photos,
    x: Photos | Sequence[Tensor],
    limits: Sequence[Limit],
    parametrise: Callable[[Tensor], Parametrisation],
    moments: str,
) -> list[_Moving]:
    """Return photos at their beginning, with moments of these names."""
    moving = []
    for p, p0, limit in zip(x, x0, limits, strict=True):
        space = parametrise(p0)
        zeros = {name: torch.zeros_like(space.from_pixels(p0)) for name in moments}
        # whether it is grey is asked once: an accelerator has to be waited for
        moving.append(_Moving(p.clone(), p0, limit, space, is_grey(p0), zeros))
    return moving


def _scatter(moving: Sequence[_Moving], rng: torch.Generator) -> None:
    """Move photos to a uniform point of their budgets' boxes."""
    for p in moving:
        noise = send(2 * torch.rand(p.x.shape, generator=rng) - 1, p.x.device)
        p.x = _project(p.x + p.limit / 255 * noise, p.x0, p.limit, p.grey)


def _step(
    moving: Sequence[_Moving], gradient: Gradient, move: Callable[[_Moving, Tensor], None]
) -> tuple[Tensor, Tensor, Tensor]:
    """Move all photos once.

    Returns:
        The value, whether all gradients are finite, and whether any is not 0; three scalars that
            nobody has waited for.
    """
    told = []
    for batch in torch.arange(len(moving)).split(MICRO_BATCH):
        which = batch.tolist()
        value, grads = gradient([moving[i].x for i in which], which)
        told.append(_told(value, grads, len(which), len(moving)))
        for i, by_pixels in zip(which, grads, strict=True):
            move(moving[i], by_pixels)
    values, finite, alive = (torch.stack(column) for column in zip(*told, strict=True))
    return values.sum(), finite.all(), alive.any()


def _move(
    p: _Moving,
    by_pixels: Tensor,
    way: Callable[[Tensor, dict[str, Tensor]], Tensor],
    left: float,
    budget: float,
    step: float,
) -> None:
    """Move a photo where its gradient leads, by what is left of a step."""
    u = p.space.from_pixels(p.x)
    # signs of channels that disagree would cancel in the projection
    g = p.space.gradient(u, neutral(by_pixels) if p.grey else by_pixels)
    there = way(g, p.moments)
    if budget and p.space is PIXELS and isinstance(p.limit, Tensor):
        there = p.limit / budget * there
    moved = p.space.to_pixels(u + step / p.space.scale * left * there)
    p.x = _project(moved, p.x0, p.limit, p.grey)


def _told(value: Value, grads: Photos, part: int, whole: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return what `part` of `whole` photos add to a step's value, whether their gradients are
    finite, and whether any is not 0; three scalars that nobody has waited for.
    """
    return (
        exact(value, grads[0].device) * part / whole,
        torch.stack([torch.isfinite(g).all() for g in grads]).all(),
        torch.stack([g.any() for g in grads]).any(),
    )


def exact(value: Value, device: torch.device) -> Tensor:
    """Return a scalar at double precision, where the device has that."""
    return torch.as_tensor(
        value, dtype=torch.float32 if device.type == "mps" else torch.float64, device=device
    )


def _sign(share: float, k: int, g: Tensor, moments: dict[str, Tensor]) -> Tensor:
    """Return the sign of the gradient, of which a share is kept where that is not 0."""
    if share:
        g = share * moments["m"] + g / g.abs().mean().clamp(min=1e-12)
        moments["m"] = g
    return g.sign()


def _adam(k: int, g: Tensor, moments: dict[str, Tensor]) -> Tensor:
    """Return Adam's direction at step k = 1, 2, ... with its usual constants; the moments m and v
    move on in place.
    """
    m, v = moments["m"], moments["v"]
    m.lerp_(g, 0.1)
    v.mul_(0.999).addcmul_(g, g, value=0.001)
    return m / (1 - 0.9**k) / ((v / (1 - 0.999**k)).sqrt() + 1e-8)


def _tensors(moving: Sequence[_Moving], carried: Sequence[ExtraState]) -> dict[str, Tensor]:
    """Return what a checkpoint holds."""
    photos = {
        f"{name}.{i}": kept
        for i, p in enumerate(moving)
        for name, kept in ({"x": p.x} | p.moments).items()
    }
    return photos | {
        f"{j} {k}": v for j, other in enumerate(carried) for k, v in other.tensors().items()
    }


def _restore(
    moving: Sequence[_Moving], carried: Sequence[ExtraState], saved: dict[str, Tensor]
) -> None:
    """Go on from what a checkpoint holds."""
    for i, p in enumerate(moving):
        p.x = saved[f"x.{i}"].to(p.x.device)
        p.moments = {name: saved[f"{name}.{i}"].to(p.x.device) for name in p.moments}
    for j, other in enumerate(carried):
        other.restore(owned(saved, f"{j} "))
