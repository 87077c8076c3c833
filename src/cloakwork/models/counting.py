"""FLOPs; and loops whose turns take the same passes through models, so that one turn tells of all.

A method's loop says so itself, by `alike` and `drawn`. In a run that changes nothing. While passes
are only counted, in `one_turn_each`, one turn of each kind is gone through, and a pass in it counts
as `stands_for` many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import groupby
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

T = TypeVar("T")
R = TypeVar("R")
# how many passes one pass stands for; None: every turn is gone through. By context, since other
# threads may be at a run meanwhile
_SHARE: ContextVar[float | None] = ContextVar("share", default=None)


class Flops(TorchDispatchMode):
    """Adds up the FLOPs of what is computed inside, by torch's own formulas.

    torch's FlopCounterMode finds the same, and which module each is of, which takes it longer.

    >>> with Flops() as flops:
    ...     _ = torch.ones(2, 3) @ torch.ones(3, 5)
    >>> flops.total
    60
    """

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if (formula := flop_registry.get(func._overloadpacket)) is not None:
            self.total += formula(*args, **kwargs, out_val=out)
        return out


@contextmanager
def graph_kept(network: nn.Module) -> Iterator[Callable[[], int]]:
    """Watch what is kept inside for a network's backward.

    Yields:
        A function that says how many bytes that is by now, beside the network's weights.
    """
    weights = {p.untyped_storage()._cdata for p in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage._cdata not in weights:  # a weight that is transposed is still a weight
            kept[storage._cdata] = storage
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        yield lambda: sum(storage.nbytes() for storage in kept.values())


def stands_for() -> float:
    """Return how many passes a pass stands for that is made now."""
    share = _SHARE.get()
    return 1.0 if share is None else share


@contextmanager
def one_turn_each() -> Iterator[None]:
    """Go through one turn of each kind only inside."""
    with _standing_for(1):
        yield


def alike(turns: Iterable[T], kind: Callable[[T], object] = lambda _: None) -> Iterator[T]:
    """Go through turns of which neighbours of one kind (all, if none is given) take the same
    passes.

    A pass with a graph is counted when it is made, its backward too; what recomputes passes in the
    backward must have gone through them all.

    >>> list(alike("aab"))
    ['a', 'a', 'b']
    >>> with one_turn_each():
    ...     [(turn, stands_for()) for turn in alike("aab", kind=str)]
    [('a', 2.0), ('b', 1.0)]
    """
    if _SHARE.get() is None:
        yield from turns
        return
    for _, neighbours in groupby(turns, kind):
        first, *others = neighbours
        with _standing_for(1 + len(others)):
            yield first


def drawn(choices: Sequence[T], rng: torch.Generator, do: Callable[[T], R]) -> R:
    """Do one of several things, all alike likely, which may take different passes.

    While passes are counted each is done, for its share of them.

    >>> drawn("ab", torch.Generator().manual_seed(0), lambda one: (one, stands_for()))
    ('a', 1.0)
    >>> with one_turn_each():
    ...     drawn("ab", torch.Generator().manual_seed(0), lambda one: (one, stands_for()))
    ('a', 0.5)
    """
    chosen = int(torch.randint(len(choices), (), generator=rng))
    if _SHARE.get() is None:
        return do(choices[chosen])
    with _standing_for(1 / len(choices)):
        return [do(one) for one in choices][chosen]


@contextmanager
def once() -> Iterator[None]:
    """Make passes inside whose results are kept: no other turn makes them.

    >>> with one_turn_each():
    ...     for _ in alike("aab"):
    ...         with once():
    ...             print(stands_for())
    1.0
    """
    with _sharing(None if _SHARE.get() is None else 1.0):
        yield


@contextmanager
def _standing_for(n: float) -> Iterator[None]:
    """Let a pass stand for n times as many inside."""
    before = _SHARE.get()
    with _sharing(n * (1.0 if before is None else before)):
        yield


@contextmanager
def _sharing(share: float | None) -> Iterator[None]:
    before = _SHARE.set(share)
    try:
        yield
    finally:
        _SHARE.reset(before)
