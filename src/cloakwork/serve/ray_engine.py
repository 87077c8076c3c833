"""The same service, whose photos are computed by Ray Serve on the machines of a cluster.

Requests, the queue and the spool stay in one program, so that there is one truth about a job. What
travels is a photo, and what was made of it. A replica computes in a process of its own, as the
program does on one machine: stopping a job ends that.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from cloakwork.benchmark.execution.ray_cluster import connected
from cloakwork.errors import UserError
from cloakwork.files import atomic_write
from cloakwork.serve.server import WORK, Settings, checked, needed, run
from cloakwork.serve.spool import PHOTO
from cloakwork.web.jobs import CRASHED, Job
from cloakwork.web.process import Process

NAME = "cloakwork"


class Replica:
    """Does one job at a time on a machine of the cluster."""

    def __init__(self) -> None:
        self.process = Process(WORK)

    async def do(
        self, kind: str, question: dict[str, Any], photo: bytes
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield what is reported of a job; the last report has the `content` of the result."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / PHOTO
            path.write_bytes(photo)
            job = Job(kind, question | {"photo": str(path), "out": folder})
            news = asyncio.Event()
            job.on_change = news.set
            await self.process.start()
            doing = asyncio.create_task(self.process.do(job))
            try:
                while not job.over:
                    await news.wait()
                    news.clear()
                    if not job.over:
                        yield job.progress
                if job.state == "done":
                    content = (Path(folder) / job.answer["file"]).read_bytes()
                    yield {"answer": job.answer, "content": content}
                else:
                    faults = [f.replace(str(path), question["photo"]) for f in job.faults]
                    yield {"faults": faults}
            finally:
                if not job.over:  # nobody waits for it any more
                    job.become("stopped")
                    await self.process.end()
                await doing


class RayWorker:
    """Has jobs done by any replica.

    Args:
        handle: of the deployment.
    """

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self._reports: Any = None

    async def start(self) -> None:
        """Do nothing: replicas are ready."""

    async def do(self, job: Job) -> None:
        """Have a job done, and write its result down."""
        photo = await asyncio.to_thread(Path(job.question["photo"]).read_bytes)
        self._reports = self.handle.options(stream=True).do.remote(job.kind, job.question, photo)
        try:
            async for told in self._reports:
                if job.over:
                    break
                if content := told.pop("content", None):
                    with atomic_write(Path(job.question["out"]) / told["answer"]["file"]) as part:
                        part.write_bytes(content)
                job.take(told)
        except Exception:  # whatever became of the replica, or of its machine
            if not job.over:
                job.take({"faults": [CRASHED]})
        finally:
            if job.state not in ("done", "failed"):  # it took too long, or was stopped
                self._reports.cancel()
            self._reports = None

    async def end(self) -> None:
        """Let the replica drop its job."""
        if self._reports is not None:
            self._reports.cancel()


def serve_on_ray(
    settings: Settings, address: str | None = None, *, say: Callable[[str], None] = print
) -> None:
    """Serve as `server.serve` does, and compute on a Ray cluster.

    Args:
        settings: how; `workers` are replicas.
        address: of a cluster that runs already; None: one of this machine's cores.
        say: called with the address.

    Raises:
        UserError: as of `server.serve`, or there is no such cluster.
    """
    tokens = checked(settings)
    try:
        from ray import serve as ray_serve
    except ImportError as error:
        raise needed(error, "serve-ray") from None
    with connected(address, settings.workers):
        # requests come by our own program
        ray_serve.start(http_options={"location": "NoServer"})
        deployment = ray_serve.deployment(
            Replica,
            name=NAME,
            num_replicas=settings.workers,
            max_ongoing_requests=1,
            ray_actor_options={"num_cpus": 1},
        )
        try:
            handle = ray_serve.run(deployment.bind(), name=NAME, route_prefix=None)
        except RuntimeError as error:
            raise UserError(f"The cluster cannot serve ({error}). Try fewer --workers.") from None
        try:
            run(settings, tokens, [RayWorker(handle) for _ in range(settings.workers)], say)
        finally:
            ray_serve.shutdown()
