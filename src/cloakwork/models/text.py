"""Text conditioning: what a denoiser is told of n prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cloakwork.photos.tensors import send


@dataclass(frozen=True, eq=False)
class Text:
    """n prompts, embedded; rows are taken and joined as those of a tensor.

    >>> text = Text(torch.zeros(2, 77, 32))
    >>> len(text), len(text[:1].expand(5)), len(Text.cat([text, text[[1]]]))
    (2, 5, 3)
    """

    hidden: Tensor
    """what attention reads: n x L x d"""
    pooled: Tensor | None = None
    """each prompt as a whole, n x p; None where the denoiser does not take it"""
    guidance: Tensor | None = None
    """the guidance scale that a denoiser is told, n; None where it is told none"""
    reference: Tensor | None = field(default=None, kw_only=True)
    """latents of a picture that the denoiser is shown beside its own, n x c x h x w"""
    lengths: tuple[int, ...] = field(default=(), kw_only=True)
    """how many of the L are a prompt's own, n; (): all of them"""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What tensors there are, in the fields' order: `Text(*text.tensors)` is the same text,
        where they are `all_of_it`.
        """
        return tuple(t for t in (self.hidden, self.pooled, self.guidance) if t is not None)

    @property
    def all_of_it(self) -> bool:
        """Whether a denoiser is told nothing beside the `tensors`."""
        return self.reference is None and not self.lengths

    def __len__(self) -> int:
        return len(self.hidden)

    def __getitem__(self, rows: slice | list[int]) -> Text:
        # torch would copy a list's numbers to the device, and wait for that
        listed = isinstance(rows, list)
        at = send(torch.tensor(rows, dtype=torch.long), self.hidden.device) if listed else rows
        text = self._each(lambda t: t[at])
        if not self.lengths:
            return text
        which = range(len(self))[rows] if isinstance(rows, slice) else rows
        lengths = tuple(self.lengths[i] for i in which)
        return replace(text, hidden=text.hidden[:, : max(lengths, default=0)], lengths=lengths)

    def expand(self, n: int) -> Text:
        """Return a single prompt n times; n prompts as they are."""
        if len(self) == n:
            return self
        text = self._each(lambda t: t.expand(n, *t.shape[1:]))
        return replace(text, lengths=self.lengths * n)

    def zeros(self) -> Text:
        """Return as many prompts that say nothing."""
        return self._each(torch.zeros_like)

    def to(self, device: torch.device) -> Text:
        """Return the same on a device."""
        return self._each(lambda t: t.to(device))

    @staticmethod
    def cat(texts: Sequence[Text]) -> Text:
        """Join the rows of texts of one model; shorter ones are filled up with zeros.

        >>> short, long = (Text(torch.ones(1, n, 8), lengths=(n,)) for n in (3, 5))
        >>> both = Text.cat([short, long])
        >>> both.hidden.shape, both.lengths, both[:1].hidden.shape
        (torch.Size([2, 5, 8]), (3, 5), torch.Size([1, 3, 8]))
        """
        if lengths := tuple(n for text in texts for n in text.lengths):
            most = max(lengths)
            texts = [text._filled(most) for text in texts]
        columns = zip(*(text.tensors for text in texts), strict=True)
        shown = [text.reference for text in texts if text.reference is not None]
        return Text(
            *(torch.cat(column) for column in columns),
            reference=torch.cat(shown) if shown else None,
            lengths=lengths,
        )

    def own(self) -> Tensor | None:
        """Return which of the L are a prompt's own, n x L; None: all of them."""
        length = self.hidden.shape[1]
        if all(n == length for n in self.lengths):
            return None
        places = torch.arange(length, device=self.hidden.device)
        return places < send(torch.tensor(self.lengths), self.hidden.device)[:, None]

    def _filled(self, length: int) -> Text:
        return replace(self, hidden=F.pad(self.hidden, (0, 0, 0, length - self.hidden.shape[1])))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Text:
        shown = None if self.reference is None else change(self.reference)
        return Text(*(change(t) for t in self.tensors), reference=shown, lengths=self.lengths)
