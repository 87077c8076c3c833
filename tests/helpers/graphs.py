"""A stand-in for CUDA's graphs that keeps their one trap: a replay overwrites what the one before
it read, returned and kept for its backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cloakwork.models.graphs import Pass


class StandIn:
    """Captures passes as `torch.cuda.make_graphed_callables` does, on the CPU."""

    def __init__(self) -> None:
        self.captured, self.replayed = 0, 0

    def __call__(self, work: Pass, examples: tuple[Tensor, ...]) -> Pass:
        self.captured += 1
        static = [e.detach().clone() for e in examples]
        out: list[Tensor] = []

        def run() -> tuple[list[Tensor], Tensor]:
            leaves = [
                s.clone().requires_grad_(e.requires_grad)
                for s, e in zip(static, examples, strict=True)
            ]
            with torch.enable_grad():
                return leaves, work(*leaves)

        def forward(args: tuple[Tensor, ...]) -> Tensor:
            self.replayed += 1
            for place, a in zip(static, args, strict=True):
                place.copy_(a)
            value = run()[1].detach()
            if not out:
                out.append(value.clone())
            return out[0].copy_(value).detach()

        class Graph(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *args: Tensor) -> Tensor:
                return forward(args)

            @staticmethod
            def backward(ctx: Any, *grads: Tensor) -> Any:
                # by what lies in the arguments' memory now, whoever has written it
                leaves, value = run()
                wanted = [x for x in leaves if x.requires_grad]
                found = iter(torch.autograd.grad(value, wanted, grads))
                return tuple(next(found) if x.requires_grad else None for x in leaves)

        return Graph.apply
