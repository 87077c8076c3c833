"""What all addresses of the service share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

from cloakwork.errors import UserError
from cloakwork.serve.answers import Found, JobShown, Progress
from cloakwork.serve.limits import Limits
from cloakwork.serve.metrics import Metrics
from cloakwork.serve.room import Room
from cloakwork.serve.spool import DISK, THE_PHOTO, Entry, Spool
from cloakwork.web.jobs import Queue, Worker

TIDY = 5.0  # seconds between two looks at what is outdated, at most


class Service:
    """What the addresses share.

    Args:
        spool: the jobs.
        workers: who computes them.
        limits: how much is taken.
        protections: name -> protection with its settings; the first is the usual one.
    """

    def __init__(
        self,
        spool: Spool,
        workers: Sequence[Worker],
        limits: Limits,
        protections: Mapping[str, str],
    ) -> None:
        self.spool, self.limits, self.protections = spool, limits, protections
        self.queue = Queue(limits.jobs, workers, limits.job_seconds)
        self.room, self.metrics = Room(self.queue), Metrics()
        watch = self.metrics.watch
        watch("cloakwork_jobs_waiting", "Jobs that wait.", lambda: self.queue.waiting)
        watch("cloakwork_jobs_running", "Jobs that run.", lambda: self.queue.running)
        watch("cloakwork_jobs_kept", "Jobs not delivered yet.", lambda: len(self.spool))

    def begin(self, entry: Entry) -> None:
        """Put a job whose photo has come into the queue.

        Raises:
            UserError: too many wait.
        """
        job, begun = entry.job, 0.0

        def changed() -> None:
            nonlocal begun
            try:
                entry.keep()
            except (OSError, UserError):  # else the queue would end here
                job.state, job.faults = "failed", [DISK]
            if job.state == "running":
                begun = begun or time.monotonic()
            if job.over:
                self.metrics.jobs.labels(job.state).inc()
                if begun:
                    self.metrics.seconds.observe(time.monotonic() - begun)
                    self.room.took(time.monotonic() - begun)

        job.on_change = changed
        self.spool.add(entry)
        try:
            self.queue.add(job)
        except UserError:
            self.spool.remove(entry)
            raise

    async def drop(self, entry: Entry) -> None:
        """Stop a job, and delete all that there is of it."""
        await self.queue.stop(entry.job)
        self.spool.remove(entry)

    async def tidy(self) -> None:
        """Delete what nobody has fetched in time, as long as the service runs."""
        while True:
            for entry in self.spool.outdated(self.limits.keep_seconds):
                self.spool.remove(entry)
            await asyncio.sleep(min(TIDY, self.limits.keep_seconds / 4))

    def shown(self, entry: Entry) -> JobShown:
        """Return what is told of a job."""
        job = entry.job
        done = job.state == "done"
        return JobShown(
            id=job.id,
            state=job.state,
            ahead=self.queue.before(job),
            progress=Progress(share=1) if done else Progress(**job.progress),
            found=Found(**job.answer) if done else None,
            result=f"/v1/jobs/{job.id}/result" if done else None,
            faults=[fault.replace(str(entry.photo), THE_PHOTO) for fault in job.faults],
        )
