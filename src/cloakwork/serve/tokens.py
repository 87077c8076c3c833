"""Bearer tokens: who may ask, and whose a job is."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from pathlib import Path

from cloakwork.errors import UserError
from cloakwork.files import expand_home

SHORTEST = 16  # letters


class Tokens:
    """The tokens that let programs in; only their hashes are held.

    Args:
        tokens: none: everybody who reaches the service is let in.
    """

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self._hashes = frozenset(_hash(token) for token in tokens)

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def owner(self, authorization: str) -> str | None:
        """Return whose jobs a request may see; None: it is not let in.

        Args:
            authorization: that header, as in "Bearer TOKEN".

        >>> Tokens(["0123456789abcdef"]).owner("Bearer 0123456789abcdeX")
        >>> Tokens().owner("")
        ''
        """
        if not self._hashes:
            return ""
        kind, _, token = authorization.partition(" ")
        given = _hash(token.strip())
        known = [h for h in self._hashes if secrets.compare_digest(h, given)]
        return given if known and kind.lower() == "bearer" else None


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def read_tokens(path: Path | str) -> Tokens:
    """Read tokens from a file, one a line; blank lines and those that begin with # are passed over.

    Raises:
        UserError: the file cannot be read, holds no token, or one that is easily guessed.
    """
    path = expand_home(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"The file of tokens {path} cannot be read ({error}). Give a text file, a token a line."
        ) from None
    found = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not found:
        raise UserError(f"The file of tokens {path} holds none. Write one a line.")
    if short := [n for n, token in enumerate(found, 1) if len(token) < SHORTEST or " " in token]:
        raise UserError(
            f"Token {short[0]} of {path} has fewer than {SHORTEST} letters, or a blank. "
            "Make one as in: python -c 'import secrets; print(secrets.token_urlsafe(24))'"
        )
    return Tokens(found)
