"""What a protection that trains its surrogates does, turn by turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cloakwork.models.counting import alike


@dataclass(frozen=True)
class Turn:
    """One turn of a protection that trains its surrogates."""

    pgd: int
    """PGD steps"""
    lookahead_steps: int = 0
    """training steps of a surrogate that the PGD steps follow"""
    kept_steps: int = 0
    """training steps that outlast the turn"""
    members: int = 1
    """surrogates that take part"""
    member: int | None = None
    """which one, where that is not left to chance"""
    restart: bool = False
    """it begins again with its snapshot"""


@dataclass(frozen=True)
class Schedule:
    """What a protection does, counted before it is done; its loop goes through the very same turns.

    >>> plan = Schedule(0, 50 * [Turn(lookahead_steps=3, pgd=6, kept_steps=3)])
    >>> plan.pgd_steps, plan.surrogate_steps
    (300, 300)
    """

    training: int
    """training steps before the first turn"""
    turns: list[Turn]

    @property
    def pgd_steps(self) -> int:
        """Return the PGD steps of all turns."""
        return sum(t.pgd for t in self.turns)

    @property
    def surrogate_steps(self) -> int:
        """Return the training steps of all surrogates together."""
        steps = sum(t.members * (t.lookahead_steps + t.kept_steps) for t in self.turns)
        return self.training + steps

    def after(self, done: int) -> Iterator[tuple[int, Turn]]:
        """Go through the turns that are not done yet, with their numbers; turns of as many steps
        take the same passes, whoever takes part (see `counting`).
        """

        def steps(numbered: tuple[int, Turn]) -> tuple[int, ...]:
            turn = numbered[1]
            return turn.pgd, turn.lookahead_steps, turn.kept_steps, turn.members

        return alike(enumerate(self.turns[done:], done), kind=steps)
