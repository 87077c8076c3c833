"""Jobs one after the other, in a process of their own: the pages live on whatever becomes of it.

The process (`cloakwork.web.worker`) stays from one job to the next, with its models. Stopping a job
ends it, and a new one is begun.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from cloakwork.errors import UserError
from cloakwork.web.limits import Limits

LONGEST_LINE = 64_000_000  # bytes of what a job reports at once
PATIENCE = 2.0  # seconds that a process has to end by itself
CRASHED = (
    "The computation ended unexpectedly, perhaps for want of memory. "
    "Try again with fewer or smaller photos."
)


@dataclass(eq=False)
class Job:
    """Something that takes time."""

    kind: str
    """a function of `cloakwork.web.work`"""
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


class Queue:
    """Jobs in the order in which they came.

    Args:
        limits: how many may wait.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._new = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    def add(self, job: Job) -> None:
        """Put a job at the end.

        Raises:
            UserError: too many wait.
        """
        if len(self._waiting) >= self.limits.jobs:
            raise UserError(
                "Too much is waiting to be computed; try again when some of it is done."
            )
        self._waiting.append(job)
        self._new.set()

    def before(self, job: Job) -> int:
        """Return how many jobs come before one that is waiting."""
        if job not in self._waiting:
            return 0
        return self._waiting.index(job) + (self._running is not None)

    async def stop(self, job: Job, *, gently: bool = False) -> None:
        """Stop a job, whatever its state.

        Args:
            job: what is stopped.
            gently: where it is running, let the process go on, and pay no heed to what comes of it:
                a new process takes seconds to start.
        """
        if job in self._waiting:
            self._waiting.remove(job)
            job.become("stopped")
        elif job is self._running:
            job.become("stopped")
            if not gently:
                await self._end_process()

    async def run(self) -> None:
        """Do one job after the other until this is cancelled."""
        try:
            while True:
                # torch takes seconds to be imported: it is, before the first job comes
                await self._start_process()
                await self._new.wait()
                self._new.clear()
                while self._waiting:
                    await self._start_process()
                    if self._waiting:  # it may have been stopped meanwhile
                        self._running = self._waiting.pop(0)
                        await self._do(self._running)
                        self._running = None
        finally:
            await self._end_process()

    async def _do(self, job: Job) -> None:
        """Send a job to the process, and pass on what it reports."""
        job.become("running")
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            job.faults = [CRASHED]
            return job.become("failed")
        with suppress(OSError):  # it ended: so does its output
            line = json.dumps({"id": job.id, "kind": job.kind, "question": job.question})
            process.stdin.write(line.encode() + b"\n")
            await process.stdin.drain()
        while not job.over:
            try:
                line = await process.stdout.readline()
                id, told = json.loads(line) if line else (job.id, {"faults": [CRASHED]})
            except ValueError:  # a line that is too long, or none of ours
                id, told = job.id, {"faults": [CRASHED]}
            # it may have been stopped meanwhile, and the process be busy with what was
            if not job.over and id == job.id:
                _take(job, told)
        if job.faults == [CRASHED]:
            await self._end_process()

    async def _start_process(self) -> None:
        """Start the process, if it does not run."""
        if self._process is not None and self._process.returncode is None:
            return
        # it fetches nothing, whatever a library would like
        env = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        self._process = await asyncio.create_subprocess_exec(
            # -P: no module is taken from the folder that the page was started in
            *(sys.executable, "-P", "-m", "cloakwork.web.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            env=env,
        )

    async def _end_process(self) -> None:
        """End the process, if it runs."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _take(job: Job, told: dict[str, Any]) -> None:
    """Take what the process reports of a job."""
    if "faults" in told:
        job.faults = told["faults"]
        job.become("failed")
    elif "answer" in told:
        job.answer = told["answer"]
        job.become("done")
    else:
        job.progress = told
        job.on_change()
