"""Photos that something is learned from, and those that it is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from cloakwork.errors import UserError

EVERY = 5  # one of so many photos is never learned from
FEWEST = EVERY
T = TypeVar("T")


def check_enough(count: int, learned: str) -> None:
    """Refuse to learn from so few photos that none could be held out.

    Args:
        count: of the photos.
        learned: what is learned from them, in the plural.

    Raises:
        UserError: they are too few.
    """
    if count < FEWEST:
        raise UserError(
            f"{learned} are learned from {FEWEST} photos at least, and {count} were given. "
            "Add some; they may show anything."
        )


def split(items: Sequence[T]) -> tuple[list[T], list[T]]:
    """Return what to learn from, and what is held out.

    >>> split("abcdefg")
    (['b', 'c', 'd', 'e', 'g'], ['a', 'f'])
    """
    return (
        [item for i, item in enumerate(items) if i % EVERY],
        [item for i, item in enumerate(items) if not i % EVERY],
    )
