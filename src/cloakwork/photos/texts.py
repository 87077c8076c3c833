"""Whether a text from a file is words for people, or a picture in letters.

Metadata of a photo that is kept may hold a text. A preview written as base64 or in hexadecimal
digits is a text to every parser; only its looks tell.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

ANY = 128  # characters; fewer hold no picture, so that they may look as they like (links, serials)
PIECES = 1000  # characters beside those of words; a photo's short values have fewer together
MOST = 8000  # characters; a caption in several languages
WORD = 20  # ASCII characters; the words of a text are shorter on average
NAMES, NAME = 6, 60  # in a sentence, and characters of one of them

LETTERS = re.compile(r"[^\W\d_]+")


def is_text(value: str) -> bool:
    """Return whether a value is words for people; a short one is if it can be printed.

    >>> is_text("A cat on the beach. " * 50), is_text("猫が浜辺にいる。" * 50)
    (True, True)
    >>> is_text("/9j/4AAQSkZJRgABAQEASABIAAD/" * 50), is_text("FF D8 FF E0 00 10 " * 50)
    (False, False)
    """
    if not all(c.isprintable() or c in "\t\r\n" for c in value):
        return False
    return len(value) <= ANY or (len(value) <= MOST and is_words(value))


def listed(names: Iterable[str]) -> str:
    """Return names from a file for a sentence: the first of them, and their beginnings.

    >>> listed(["a", "b"]), listed(["a" * 99]) == "a" * 60 + "..."
    ('a, b', True)
    >>> listed(list("abcdefgh"))
    'a, b, c, d, e, f and 2 more'
    """
    shown = [name if len(name) <= NAME else f"{name[:NAME]}..." for name in names]
    more = f" and {len(shown) - NAMES} more" if len(shown) > NAMES else ""
    return ", ".join(shown[:NAMES]) + more


def in_pieces(values: Iterable[str]) -> bool:
    """Return whether what is no words in short values adds up to what may be a picture in pieces.

    >>> in_pieces(["a cat on the beach"] * 500), in_pieces(["/9j/4AAQSkZJRgABAQEA"] * 500)
    (False, True)
    """
    short = (value for value in values if len(value) <= ANY)
    return sum(len("".join(value.split())) - _plain(value) for value in short) > PIECES


def is_words(value: str) -> bool:
    """Return whether a value of any length has words as prose has them."""
    words = value.split()
    ascii_only = sum(c.isascii() for word in words for c in word)
    return ascii_only <= WORD * len(words) and _plain(value) >= 0.6 * sum(map(len, words))


def _plain(value: str) -> int:
    """Count the letters of a value that stand together as in words."""
    return sum(len(run) for run in LETTERS.findall(value) if _is_plain(run))


def _is_plain(run: str) -> bool:
    """Return whether letters are in one case, or capital at the beginning alone.

    >>> [_is_plain(run) for run in ("sea", "Sea", "SEA", "sEa", "海")]
    [True, True, True, False, True]
    """
    return run in (run.lower(), run.upper(), run.title())
