"""Progress bars on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

# label of a loop over whole things -> what one of them is called; any other loop is one of steps
THINGS = {"photo sets": "photo set", "attackers": "attacker", "purified": "photo"}


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress bars with the time left on stderr, one for each loop.

    Whoever stops it by Ctrl-C gets the loops that were running as a note on the KeyboardInterrupt.

    Yields:
        A function of a label, steps done and their total.
    """
    display, tasks, running = _display(), {}, {}

    def show(label: str, done: int, total: int) -> None:
        running[label] = (done, total)
        if label not in tasks:
            tasks[label] = display.add_task(label, total=total)
        display.update(tasks[label], completed=done, total=total)
        if done >= total:
            display.remove_task(tasks.pop(label))
            del running[label]

    try:
        with display:
            yield show
    except KeyboardInterrupt as stop:
        if running:
            stop.add_note(how_far(running))
        raise


def _display() -> Progress:
    """Return a display without bars, which shows nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        "left:",
    )
    console = Console(stderr=True)
    return Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        # seconds: a step may take minutes, and rich forgets speeds after half a minute
        speed_estimate_period=3600,
    )


def how_far(running: dict[str, tuple[int, int]]) -> str:
    """Return where a job is, from its running loops: label -> steps done and their total.

    Of loops of steps, one in another, the outermost one counts.

    >>> how_far({"photo sets": (1, 3), "cats": (40, 100), "surrogate": (2, 6)})
    'step 40 of 100, in photo set 2 of 3'
    >>> how_far({"purified": (4, 9)})
    'photo 5 of 9'
    """
    steps = [counts for label, counts in running.items() if label not in THINGS]
    things = [
        f"{THINGS[label]} {done + 1} of {total}"
        for label, (done, total) in reversed(running.items())
        if label in THINGS
    ]
    return ", in ".join([*(f"step {done} of {total}" for done, total in steps[:1]), *things])
