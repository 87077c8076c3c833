"""What is counted of a run whose models are hollow (`dry_run`): passes, and graphs at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from torch import Tensor

from cloakwork.models.counting import stands_for


@dataclass
class Counts:
    """Steps, and calls of each part of the surrogates; a call is one micro-batch."""

    pgd_steps: int = 0
    """sign steps over the whole photo set; those of a search for timesteps, which are undone, count
    by their passes alone"""
    training_steps: int = 0
    """optimizer steps of surrogates"""
    vae_encode: int = 0
    vae_encode_backward: int = 0
    vae_decode: int = 0
    vae_decode_backward: int = 0
    unet: int = 0
    unet_backward: int = 0

    def whole(self) -> Counts:
        """Return the counts as whole numbers: things that are drawn were counted by shares."""
        return Counts(**{name: round(n) for name, n in vars(self).items()})


@dataclass
class Tally:
    """Passes so far."""

    counts: Counts = field(default_factory=Counts)
    pictures: Counter[str] = field(default_factory=Counter)
    """by the name in `Counts`: how many pictures went through in those calls"""
    learned: float = 0
    """of the UNet's backward passes: pictures in those that went on to all of its weights"""
    held: set[frozenset[tuple[str, int]]] = field(default_factory=set)
    """by the name of the pass: of how many pictures there were graphs at once"""
    _open: Counter[str] = field(default_factory=Counter)

    def add(self, name: str, calls: float, pictures: int = 1) -> None:
        """Add calls of so many pictures each."""
        setattr(self.counts, name, getattr(self.counts, name) + calls)
        self.pictures[name] += calls * pictures  # type: ignore[assignment] - shares of passes

    def watch(self, name: str, out: Tensor, *, learns: bool = False) -> None:
        """Add a pass that gave `out`, of as many pictures, and its backward when that comes.

        Args:
            name: of the pass.
            out: what the pass returns.
            learns: it has a gradient by all of its weights.
        """
        n, pictures = stands_for(), len(out)
        self.add(name, n, pictures)
        if not out.requires_grad:
            return
        self._open[name] += pictures
        self.held.add(frozenset(self._open.items()))

        def backward(_: Tensor) -> None:
            self.add(f"{name}_backward", n, pictures)
            self.learned += n * pictures if learns else 0
            self._open[name] -= pictures

        out.register_hook(backward)

    def close(self) -> None:
        """Take note that no graph is left: those of recomputed passes have no backward of their
        own.
        """
        self._open.clear()
