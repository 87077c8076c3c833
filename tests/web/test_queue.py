"""Jobs wait for a worker, and not for one that cannot be had."""

from __future__ import annotations

import asyncio

import pytest

from cloakwork.web import jobs
from cloakwork.web.jobs import CRASHED, Job, Queue


class Starved:
    """A worker whose process cannot be started the first times."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    async def start(self) -> None:
        self.refusals -= 1
        if self.refusals >= 0:
            raise OSError("Cannot allocate memory")

    async def do(self, job: Job) -> None:
        job.take({"answer": {"done": True}})

    async def end(self) -> None:
        pass


def test_a_job_fails_where_no_process_can_be_started_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jobs, "PAUSE", 0.0)

    async def both() -> tuple[Job, Job]:
        queue, first, second = Queue(5, [Starved(1)]), Job("edit", {}), Job("edit", {})
        queue.add(first)
        queue.add(second)
        running = asyncio.create_task(queue.run())
        async with asyncio.timeout(5):
            while not second.over:
                await asyncio.sleep(0)
        running.cancel()
        return first, second

    first, second = asyncio.run(both())
    assert (first.state, first.faults) == ("failed", [CRASHED])
    assert second.state == "done"
