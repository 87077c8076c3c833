"""A process that does jobs for a program that answers requests: whatever becomes of it, that lives.

The process (`cloakwork.web.worker`) stays from one job to the next, with its models.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import suppress

from cloakwork.web.jobs import CRASHED, Job

LONGEST_LINE = 64_000_000  # bytes of what a job reports at once
PATIENCE = 2.0  # seconds that a process has to end by itself


class Process:
    """Does one job at a time, in a process of its own.

    Args:
        work: the module whose KINDS are done there.
        variables: of the process's environment, beside the program's own.
    """

    def __init__(
        self, work: str = "cloakwork.web.work", variables: Mapping[str, str] | None = None
    ) -> None:
        self.work, self.variables = work, dict(variables or {})
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process, if it does not run."""
        if self._process is not None and self._process.returncode is None:
            return
        # it fetches nothing, whatever a library would like
        offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        self._process = await asyncio.create_subprocess_exec(
            # -P: no module is taken from the folder that the program was started in
            *(sys.executable, "-P", "-m", "cloakwork.web.worker", self.work),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            env=os.environ | offline | self.variables,
        )

    async def do(self, job: Job) -> None:
        """Send a job to the process, and pass on what it reports."""
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return job.take({"faults": [CRASHED]})
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
                job.take(told)
        if job.faults == [CRASHED]:
            await self.end()

    async def end(self) -> None:
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
