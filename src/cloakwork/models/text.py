"""Text conditioning: what a denoiser is told of n prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


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

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """What there is, in the fields' order: `Text(*text.tensors)` is the same text."""
        return tuple(t for t in (self.hidden, self.pooled, self.guidance) if t is not None)

    def __len__(self) -> int:
        return len(self.hidden)

    def __getitem__(self, rows: slice | list[int]) -> Text:
        return self._each(lambda t: t[rows])

    def expand(self, n: int) -> Text:
        """Return a single prompt n times; n prompts as they are."""
        return self if len(self) == n else self._each(lambda t: t.expand(n, *t.shape[1:]))

    def zeros(self) -> Text:
        """Return as many prompts that say nothing."""
        return self._each(torch.zeros_like)

    @staticmethod
    def cat(texts: Sequence[Text]) -> Text:
        """Join the rows of texts of one model."""
        columns = zip(*(text.tensors for text in texts), strict=True)
        return Text(*(torch.cat(column) for column in columns))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Text:
        return Text(*(change(t) for t in self.tensors))
