"""What every page that is made from templates shares: how they are filled, and what it may load."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(folder: Path) -> Environment:
    """Return the templates of a folder, whose values are escaped and in which a name that is not
    there is an error.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def policy(script: str, images: str) -> str:
    """Return the Content-Security-Policy of a page that runs its own script and loads nothing.

    Args:
        script: the text of that script.
        images: sources of the pictures that it shows all the same, such as "data:".

    >>> policy("", "data:")[:37]
    "default-src 'none'; img-src data:; st"
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; img-src {images}; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
