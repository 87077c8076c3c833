"""Text on its way to a terminal, which obeys some of what it reads: names of files may hold it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cloakwork.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

# control characters but tab and line feed, marks that turn the direction of writing, and what
# stands for bytes that are not UTF-8
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def plain(text: object) -> str:
    r"""Return a text as it may be printed: what a terminal would obey is written out.

    >>> plain("a\x1b[31m.png"), plain("caf\udce9.png"), plain("\u202egnp.exe")
    ('a\\x1b[31m.png', 'caf\\xe9.png', '\\u202egnp.exe')
    """

    def written_out(found: re.Match[str]) -> str:
        code = ord(found[0])
        byte = code - 0xDC00 if 0xDC80 <= code <= 0xDCFF else code  # of a name that is not UTF-8
        return f"\\x{byte:02x}" if byte < 0x100 else f"\\u{byte:04x}"

    return OBEYED.sub(written_out, str(text))


def say(text: object = "", *, error: bool = False) -> None:
    """Print a text that may hold names, to stdout or to stderr."""
    print(plain(text), file=sys.stderr if error else sys.stdout)


def plain_console(*, soft_wrap: bool = True) -> Console:
    """Return a console for tables and texts that may hold names, taken as they are."""
    from rich.console import Console

    class Plain(Console):
        """Every text of a table, a title or a line goes through here."""

        def render_str(self, text: str, **how: Any) -> Any:
            return super().render_str(plain(text), **how)

    return Plain(markup=False, highlight=False, emoji=False, soft_wrap=soft_wrap)


def refuse_dashes(words: Sequence[str]) -> None:
    """Refuse names of files that begin with a dash, and would be read as options.

    Args:
        words: the command line after the command's name.

    Raises:
        UserError: one sentence for each.
    """
    before = words[: words.index("--")] if "--" in words else words
    named = [
        word
        for word in before
        if word.startswith("-")
        and not re.fullmatch(r"-[a-z]|--[a-z_-]+(=.*)?", word)
        and os.path.lexists(word)
    ]
    if named:
        raise UserError(
            *[
                f"'{word}' begins with a dash, so it reads as an option. Write './{word}', "
                "or name all photos last, after --."
                for word in named
            ]
        )
