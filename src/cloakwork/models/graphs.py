"""Passes of frozen networks, replayed as CUDA graphs: a pass is launched as a whole, not kernel by
kernel.

That matters for small networks and pictures, whose kernels take less time than their launches. The
kernels are the same, and so are the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Pass = Callable[..., Tensor]  # tensors -> a tensor
# a pass and examples of its arguments -> the pass by a graph, which always takes and returns the
# same memory
Capture = Callable[[Pass, tuple[Tensor, ...]], Pass]


class Replayed:
    """A network's pass that is captured at its first call for arguments of such shapes, and
    replayed from then on.

    It runs kernel by kernel where a replay would be wrong: while weights learn, while somebody
    looks at layers through hooks, and while the backward of an earlier call is still to come, which
    needs what a replay would overwrite.

    Args:
        network: whose weights the pass uses; where they are moved, it is captured again.
        work: the pass.
        capture: makes the graph; None: CUDA's.
    """

    def __init__(
        self,
        network: nn.Module,
        work: Pass,
        capture: Capture | None = None,
    ) -> None:
        self.network, self.work = network, work
        of_cuda: Any = torch.cuda.make_graphed_callables
        self.capture: Capture = capture or of_cuda
        self._graphs: dict[tuple, Pass] = {}
        self._place = 0
        self._awaited: set[tuple] = set()  # graphs whose backward is still to come

    def __call__(self, *args: Tensor) -> Tensor:
        """Return what the pass returns, in memory of its own."""
        if not torch.is_grad_enabled():
            args = tuple(a.detach() for a in args)
        self._forget_if_moved()
        key = tuple((a.shape, a.dtype, a.requires_grad) for a in args)
        if key in self._awaited or self._must_run():
            return self.work(*args)
        if key not in self._graphs:
            self._graphs[key] = self.capture(self.work, tuple(_example(a) for a in args))
        out = self._graphs[key](*args).clone()
        if out.requires_grad:
            self._awaited.add(key)
            out.register_hook(lambda _: self._awaited.discard(key))
        return out

    def _forget_if_moved(self) -> None:
        """Drop graphs that read weights where they no longer lie."""
        place = next(self.network.parameters()).data_ptr()
        if place != self._place:
            self._graphs.clear()
            self._place = place

    def _must_run(self) -> bool:
        return any(p.requires_grad for p in self.network.parameters()) or any(
            m._forward_hooks or m._forward_pre_hooks for m in self.network.modules()
        )


def _example(x: Tensor) -> Tensor:
    """Return memory for arguments like x."""
    return x.detach().clone(memory_format=torch.contiguous_format).requires_grad_(x.requires_grad)
