"""How a job says how far it is, to the program that waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from cloakwork.state import Progress
from cloakwork.workflows.how_far import HowFar

Tell = Callable[[dict[str, Any]], None]
EVERY = 0.2  # seconds between two reports


def reporting(tell: Tell) -> Progress:
    """Return a progress that reports how far the whole job is, at most every EVERY seconds."""
    far, told = HowFar(), 0.0

    def progress(label: str, done: int, total: int) -> None:
        nonlocal told
        far.report(label, done, total)
        now = time.monotonic()
        if now - told >= EVERY:
            told = now
            left = None if far.until is None else max(0, round(far.until - now))
            tell({"share": far.share, "words": far.words, "left": left})

    return progress
