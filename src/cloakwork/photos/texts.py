"""Whether a text from a file is words for people, or a picture in letters.

Metadata of a photo that is kept may hold a text. A preview written as base64 or in hexadecimal
digits is a text to every parser; only its looks tell.
"""

from __future__ import annotations

import re

ANY = 128  # characters; fewer hold no picture, so that they may look as they like (links, serials)
MOST = 8000  # characters; a caption in several languages
WORD = 20  # ASCII characters; the words of a text are shorter on average

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
    if len(value) <= ANY:
        return True
    words = value.split()
    characters = sum(map(len, words))
    plain = sum(len(run) for run in LETTERS.findall(value) if _is_plain(run))
    ascii_only = sum(c.isascii() for word in words for c in word)
    return len(value) <= MOST and ascii_only <= WORD * len(words) and plain >= 0.6 * characters


def _is_plain(run: str) -> bool:
    """Return whether letters are in one case, or capital at the beginning alone.

    >>> [_is_plain(run) for run in ("sea", "Sea", "SEA", "sEa", "海")]
    [True, True, True, False, True]
    """
    return run in (run.lower(), run.upper(), run.title())
