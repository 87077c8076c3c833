"""How far a job is, and in words, by the loops that it reports; importing it loads no torch."""

from __future__ import annotations

import time

TIME = "time"  # label of the seconds that a job has taken, and of those that it is thought to take
# label of a loop over whole things -> what one of them is called; any other loop is one of steps
THINGS = {
    "photo sets": "photo set",
    "attackers": "attacker",
    "purified": "photo",
    "tried": "photo",
    "compared": "photo",
}
# loops that come before the one that a method consists of
PREPARING = ("class pictures", "timesteps", "surrogate")


def share_done(running: dict[str, tuple[int, int]]) -> float:
    """Return how much of a job is done, 0 to 1, from its running loops: label -> done, total.

    >>> share_done({"photo sets": (1, 4), "cats": (50, 100), "timesteps": (9, 10)})
    0.375
    """
    steps = [n for label, n in running.items() if label not in (*THINGS, *PREPARING)]
    share = 0.0
    for done, total in [*steps[:1], *[n for x, n in reversed(running.items()) if x in THINGS]]:
        share = min(1.0, (done + share) / max(1, total))
    return share


def how_far(running: dict[str, tuple[int, int]]) -> str:
    """Return where a job is, from its running loops: label -> steps done and their total.

    Of loops of steps, one in another, the outermost one counts, and those of preparations last.

    >>> how_far({"photo sets": (1, 3), "cats": (40, 100), "surrogate": (2, 6)})
    'step 40 of 100, in photo set 2 of 3'
    >>> how_far({"purified": (4, 9)})
    'photo 5 of 9'
    >>> how_far({"timesteps": (4, 30)})
    'timesteps 4 of 30'
    """
    steps = [
        *(("step", n) for label, n in running.items() if label not in (*THINGS, *PREPARING)),
        *(item for item in running.items() if item[0] in PREPARING),
    ]
    things = [
        f"{THINGS[label]} {done + 1} of {total}"
        for label, (done, total) in reversed(running.items())
        if label in THINGS
    ]
    inside = [f"{what} {done} of {total}" for what, (done, total) in steps[:1]]
    return ", in ".join([*inside, *things])


class HowFar:
    """How far a job is, from what it reports; it never goes back."""

    def __init__(self) -> None:
        self.share = 0.0
        """of the job, 0 to 1"""
        self.begun = False
        """whether that is known yet: a method may be getting ready"""
        self.until: float | None = None
        """when it is thought to end, by the monotonic clock"""
        self.words = ""
        self._running: dict[str, tuple[int, int]] = {}

    def report(self, label: str, done: int, total: int) -> None:
        """Take a loop's label, the steps done and their total."""
        if label == TIME:
            self.begun, self.until = True, time.monotonic() + total - done
            self.share = max(self.share, done / max(1, total))
            return
        self._running[label] = (done, total)
        self.words = how_far(self._running)
        if self.until is None:
            # a loop that ends inside another makes way for the next one
            self.share = max(self.share, share_done(self._running))
            self.begun |= label not in PREPARING
        if done >= total:
            del self._running[label]
