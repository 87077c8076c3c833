"""Jobs that wait for somebody who does them, in the order in which they came."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from cloakwork.errors import UserError

CRASHED = (
    "The computation ended unexpectedly, perhaps for want of memory. "
    "Try again with fewer or smaller photos."
)
PAUSE = 5.0  # seconds until a process that could not be started is tried again
TOO_LONG = (
    "The computation took more than the {:g} seconds that are allowed, and was stopped. "
    "Try a quicker protection, or a smaller photo."
)


@dataclass(eq=False)
class Job:
    """Something that takes time."""

    kind: str
    """one of the KINDS of a module of work"""
    question: dict[str, Any]
    """what it is given, as JSON holds it"""
    on_change: Callable[[], None] = lambda: None
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: Literal["waiting", "running", "done", "failed", "stopped"] = "waiting"
    progress: dict[str, Any] = field(default_factory=dict)
    """what it reported last"""
    answer: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in ("done", "failed", "stopped")

    def become(self, state: Literal["running", "done", "failed", "stopped"]) -> None:
        """Change the state, and tell so."""
        self.state = state
        self.on_change()

    def take(self, told: dict[str, Any]) -> None:
        """Take what is reported of it."""
        if "faults" in told:
            self.faults = told["faults"]
            self.become("failed")
        elif "answer" in told:
            self.answer = told["answer"]
            self.become("done")
        else:
            self.progress = told
            self.on_change()


class Worker(Protocol):
    """Does one job at a time."""

    async def start(self) -> None:
        """Get ready for a job, if it is not."""
        ...

    async def do(self, job: Job) -> None:
        """Do a job until it is over, and pass on what is reported of it."""
        ...

    async def end(self) -> None:
        """Drop everything; `start` begins anew."""
        ...


class Queue:
    """Jobs in the order in which they came.

    Args:
        most: jobs that may wait.
        workers: who does them.
        seconds: that one may take; None: as long as it likes.
    """

    def __init__(self, most: int, workers: Sequence[Worker], seconds: float | None = None) -> None:
        self.most, self.workers, self.seconds = most, workers, seconds
        self._waiting: list[Job] = []
        self._running: dict[Job, Worker] = {}
        self._new = asyncio.Event()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many jobs run."""
        return len(self._running)

    def add(self, job: Job) -> None:
        """Put a job at the end.

        Raises:
            UserError: too many wait.
        """
        if len(self._waiting) >= self.most:
            raise UserError(
                "Too much is waiting to be computed; try again when some of it is done."
            )
        self._waiting.append(job)
        self._new.set()

    def before(self, job: Job) -> int:
        """Return how many jobs come before one that is waiting."""
        if job not in self._waiting:
            return 0
        return self._waiting.index(job) + len(self._running)

    async def stop(self, job: Job, *, gently: bool = False) -> None:
        """Stop a job, whatever its state.

        Args:
            job: what is stopped.
            gently: where it is running, let the worker go on, and pay no heed to what comes of it:
                a new process takes seconds to start.
        """
        if job in self._waiting:
            self._waiting.remove(job)
            job.become("stopped")
        elif worker := self._running.get(job):
            job.become("stopped")
            if not gently:
                await worker.end()

    async def run(self) -> None:
        """Do the jobs until this is cancelled."""
        try:
            await asyncio.gather(*(self._work(worker) for worker in self.workers))
        finally:
            for worker in self.workers:
                await worker.end()

    async def _work(self, worker: Worker) -> None:
        """Let a worker do one job after the other."""
        while True:
            # torch takes seconds to be imported: it is, before the first job comes
            await self._started(worker)
            while not self._waiting:
                self._new.clear()
                await self._new.wait()
            await self._started(worker)
            if not self._waiting:  # it may have been stopped meanwhile
                continue
            job = self._waiting.pop(0)
            self._running[job] = worker
            try:
                async with asyncio.timeout(self.seconds):
                    job.become("running")
                    await worker.do(job)
            except TimeoutError:
                await worker.end()
                if not job.over:
                    job.take({"faults": [TOO_LONG.format(self.seconds)]})
            finally:
                del self._running[job]

    async def _started(self, worker: Worker) -> None:
        """Get a worker ready; while it cannot be, what waits fails, and is not kept waiting."""
        while True:
            try:
                return await worker.start()
            except OSError:  # no memory for another process
                if self._waiting:
                    self._waiting.pop(0).take({"faults": [CRASHED]})
                await asyncio.sleep(PAUSE)


@asynccontextmanager
async def beside(*running: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run what never ends beside the block, and cancel it after."""
    tasks = [asyncio.create_task(one) for one in running]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
