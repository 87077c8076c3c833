"""What a run draws, what its first gradient is, what becomes of weights that learn in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import torch
from releases.parts import Draws, Found
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.overrides import TorchFunctionMode

from cloakwork.perturbation import pgd
from cloakwork.types import Photos


class Recorder(TorchFunctionMode):
    """Keeps what is drawn from torch's generators."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[tuple[torch.Generator, str, Tensor]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        rng = (kwargs or {}).get("generator")
        name = getattr(func, "__name__", "")
        if rng is not None and name in ("randn", "rand", "randint", "multinomial"):
            self.drawn.append((rng, name, result.clone()))
        return result

    def draws(self, rng: torch.Generator, shape: torch.Size) -> Draws:
        """What the run's own generator gave, sorted by what it was for.

        Args:
            rng: the run's.
            shape: of a latent.
        """
        of: dict[int, Draws] = {id(rng): Draws(shape=shape)}
        for generator, name, x in self.drawn:
            own = of.setdefault(id(generator), Draws(shape=shape))
            if name == "randn" and x.ndim == 4:
                own.normals += list(x)
            elif name == "randn" and x.ndim == 2:
                own.matrices.append(x)
            elif name in ("randint", "multinomial") and x.ndim:
                own.timesteps += list(x.flatten())
            elif name == "rand" and x.ndim == 3:
                own.starts.append(x)
            elif name == "rand" and x.shape != (
                2,
            ):  # that is where a square is cut: it is the whole photo
                own.uniforms += list(x.flatten())
        main = of.pop(id(rng))
        return replace(main, others=list(of.values()))


@dataclass
class Watched:
    """What became of weights that learned."""

    gradient: Tensor | None = None
    params: list[Tensor] = field(default_factory=list)
    before: list[Tensor] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def step(self, optimizer: torch.optim.Optimizer, *unused: Any) -> None:
        """Called before every step of an optimizer."""
        self.times.append(time.process_time())
        if self.gradient is None:
            self.params = [p for group in optimizer.param_groups for p in group["params"]]
            self.before = [p.detach().clone() for p in self.params]
            self.gradient = flat([p.grad for p in self.params])

    def found(self) -> Found:
        assert self.gradient is not None
        moved = [p.detach() - b for p, b in zip(self.params, self.before, strict=True)]
        return Found(self.gradient, flat(moved))

    @property
    def seconds(self) -> float:
        """Of a step, from one to the next."""
        return (self.times[-1] - self.times[0]) / max(len(self.times) - 1, 1)


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([t.detach().flatten() for t in tensors])


@contextmanager
def watched() -> Iterator[Watched]:
    seen = Watched()
    hook = register_optimizer_step_pre_hook(seen.step)
    yield seen
    hook.remove()


@contextmanager
def first_gradient() -> Iterator[list[Photos]]:
    """Lends a list for the gradients of PGD, beside those of a search for timesteps."""
    seen: list[Photos] = []
    plain = pgd.ascend

    def ascend(x0: Photos, gradient: pgd.Gradient, **how: Any) -> Photos:
        def noted(x: Photos, which: list[int]) -> tuple[float, Photos]:
            value, grads = gradient(x, which)
            if how["state"].label != "timesteps" and not seen:
                seen.append(grads)
            return value, grads

        return plain(x0, noted, **how)

    with patch.object(pgd, "ascend", ascend):
        yield seen
