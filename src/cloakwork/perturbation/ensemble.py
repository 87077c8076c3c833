"""Several surrogates at once, each of which may see photos at several sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypeVar

import torch
from torch import Tensor

from cloakwork.errors import UserError
from cloakwork.models.counting import drawn
from cloakwork.models.encoder import Encoder
from cloakwork.models.ldm import LDM
from cloakwork.perturbation import pgd
from cloakwork.perturbation.parametrisation import PIXELS, Parametrisation
from cloakwork.perturbation.pgd import Gradient, Value
from cloakwork.state import RunState
from cloakwork.types import Photos

LARGEST_TOGETHER = 256  # pixels; encoders alone see larger pictures one at a time
E = TypeVar("E", bound=Encoder)


class PGDConfig(Protocol):
    """What a Config says of PGD."""

    @property
    def budget(self) -> float: ...
    @property
    def step(self) -> float | None: ...
    @property
    def steps(self) -> int: ...


def ascend_mean(
    photos: Photos,
    surrogates: Sequence[E],
    gradient: Callable[[E], Gradient],
    cfg: PGDConfig,
    rng: torch.Generator,
    state: RunState,
    *,
    random_start: bool = False,
    final_step: float = 1.0,
    update: Literal["sign", "adam"] = "sign",
    parametrise: Callable[[Tensor], Parametrisation] = lambda photo: PIXELS,
    weights: str = "",
) -> Photos:
    """Let `pgd.ascend` raise the mean, over surrogates, of a gradient made for each of them.

    A surrogate that sees photos at several sizes (`Encoder.views`) sees them at one in each step,
    drawn anew.

    Args:
        photos: the originals, each 3 x H x W in [0, 1].
        surrogates: the models, or encoders alone.
        gradient: makes the gradient through one of them.
        cfg: budget, step and steps.
        rng, state, random_start, final_step, update, parametrise: as in `pgd.ascend`.
        weights: as `parse_weights` takes them; with them, or where encoders alone are among the
            surrogates, the mean is a `balanced_mean`.

    Returns:
        As many photos of the same sizes, in [0, 1].

    Raises:
        NotFinite: the gradient of a photo is not finite.
    """
    # of the largest photo: smaller ones are enlarged, as a loader does
    side = max(min(p.shape[-2:]) for p in photos)
    by_surrogate = [
        at_any_size([photo_by_photo(gradient(view), view) for view in model.views(side)], rng)
        for model in surrogates
    ]
    shares = parse_weights(weights)
    alone = any(not isinstance(model, LDM) for model in surrogates)
    return pgd.ascend(
        photos,
        balanced_mean(by_surrogate, shares) if alone or shares else mean(by_surrogate),
        budget=cfg.budget,
        step=cfg.step,
        steps=cfg.steps,
        rng=rng,
        random_start=random_start,
        final_step=final_step,
        update=update,
        parametrise=parametrise,
        state=state,
    )


def mean(gradients: Sequence[Gradient]) -> Gradient:
    """Return the mean of several surrogates' gradients, computed one after the other."""

    def gradient(x: Photos, which: list[int]) -> tuple[Value, Photos]:
        values, grads = zip(*[g(x, which) for g in gradients], strict=True)
        total = sum(pgd.exact(value, x[0].device) for value in values)
        return total / len(values), [torch.stack(g).mean(0) for g in zip(*grads, strict=True)]

    return gradients[0] if len(gradients) == 1 else gradient


def balanced_mean(gradients: Sequence[Gradient], weights: Sequence[float] = ()) -> Gradient:
    """Return the mean of several gradients, each brought to one length for each photo beforehand.

    Latent spaces have units of their own, and so have distances in them: without this the space of
    the largest numbers would decide alone. A gradient of 0 stays 0.

    Args:
        gradients: of the surrogates, computed one after the other.
        weights: of each; none: all alike.

    >>> right, down = (lambda x, which, g=g: (1.0, [torch.tensor(g)]) for g in ([9.0, 0], [0, 1.0]))
    >>> balanced_mean([right, down])([torch.zeros(2)], [0])[1]
    [tensor([0.5000, 0.5000])]
    """
    shares = [w / sum(weights) for w in weights] or [1 / len(gradients)] * len(gradients)

    def gradient(x: Photos, which: list[int]) -> tuple[Value, Photos]:
        total, way = 0.0, [torch.zeros_like(p) for p in x]
        for share, one in zip(shares, gradients, strict=True):
            value, grads = one(x, which)
            total = total + share * pgd.exact(value, x[0].device)
            way = [
                w + share * g / g.norm().clamp(min=1e-12) for w, g in zip(way, grads, strict=True)
            ]
        return total, way

    return gradients[0] if len(gradients) == 1 else gradient


def parse_weights(text: str) -> tuple[float, ...]:
    """Return the weights of several surrogates, written as numbers parted by blanks; "" for none.

    >>> parse_weights("1 0.5")
    (1.0, 0.5)

    Raises:
        UserError: other words, or numbers that no mean can be taken with.
    """
    try:
        weights = tuple(float(word) for word in text.split())
    except ValueError:
        weights = (-1.0,)
    if weights and not (min(weights) >= 0 and 0 < sum(weights) < math.inf):
        raise UserError(
            f"The surrogates' weights are '{text}'; give a number of 0 or more for each, parted by "
            "blanks, and not all 0."
        )
    return weights


def at_any_size(gradients: Sequence[Gradient], rng: torch.Generator) -> Gradient:
    """Return the gradient at one of several sizes of the photos' view, drawn in every call."""

    def gradient(x: Photos, which: list[int]) -> tuple[Value, Photos]:
        return drawn(gradients, rng, lambda one: one(x, which))

    return gradients[0] if len(gradients) == 1 else gradient


def photo_by_photo(gradient: Gradient, model: Encoder) -> Gradient:
    """Return the same gradient, of one photo at a time where an encoder alone sees large pictures.

    Its graph of a whole micro-batch would be larger than most machines' memory.
    """
    if isinstance(model, LDM) or model.size <= LARGEST_TOGETHER:
        return gradient

    def one_by_one(x: Photos, which: list[int]) -> tuple[Value, Photos]:
        parts = [gradient([p], [i]) for p, i in zip(x, which, strict=True)]
        values = [pgd.exact(value, x[0].device) for value, _ in parts]
        return torch.stack(values).mean(), [g for _, (g,) in parts]

    return one_by_one
