"""How many jobs still fit, and when to ask again where none does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

from cloakwork.web.jobs import Queue

FULL = "Too much is waiting to be computed; try again when some of it is done."

USUAL = 5.0  # seconds that a job takes, as long as none has been seen
WEIGHT = 0.2  # of the latest job in the mean


class Room:
    """What the queue and the photos on their way leave of the number of jobs that are taken."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.coming = 0
        self.seconds = USUAL
        """that a job takes, about"""

    @property
    def full(self) -> bool:
        """Whether no further job is taken."""
        return self.queue.waiting + self.coming >= self.queue.most

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Count a photo that is on its way."""
        self.coming += 1
        try:
            yield
        finally:
            self.coming -= 1

    def took(self, seconds: float) -> None:
        """Learn how long a job took."""
        self.seconds += WEIGHT * (seconds - self.seconds)

    @property
    def retry_after(self) -> int:
        """Seconds until there may be room: about when the next job is done."""
        return max(1, math.ceil(self.seconds / max(1, len(self.queue.workers))))
