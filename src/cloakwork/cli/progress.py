"""Progress bars on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show progress bars with the time left on stderr, one for each loop.

    Yields:
        A function of a label, steps done and their total.
    """
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
    display = Progress(
        *columns,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        # seconds: a step may take minutes, and rich forgets speeds after half a minute
        speed_estimate_period=3600,
    )
    tasks = {}

    def show(label: str, done: int, total: int) -> None:
        if label not in tasks:
            tasks[label] = display.add_task(label, total=total)
        display.update(tasks[label], completed=done, total=total)
        if done >= total:
            display.remove_task(tasks.pop(label))

    with display:
        yield show
