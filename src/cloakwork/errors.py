"""The exceptions that a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can mend: what was given, what is allowed, what to do next, one sentence a fault.

    Faces show the sentences without a traceback and end with exit status 2.
    """

    def __init__(self, *sentences: str) -> None:
        super().__init__(*sentences)
        self.sentences = sentences

    def __str__(self) -> str:
        return "\n".join(self.sentences)


class Unscored(Exception):
    """A metric cannot be measured here: why, and how to get it, in one sentence. The score is then NaN, never 0."""

    @property
    def reason(self) -> str:
        return str(self)
