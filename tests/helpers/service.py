"""The service, as tests ask it: in memory, from a thread, or as a program of its own."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import uvicorn
from PIL import Image

from cloakwork.serve.app import create_app
from cloakwork.serve.server import WORK
from cloakwork.serve.spool import held
from cloakwork.web.jobs import Job
from cloakwork.web.process import Process
from cloakwork.web.server import QUIET, listening

OFFERED = {"noise": "noise", "learned": "learned", "pid": "pid:tiny:steps=2"}


class Copier:
    """A worker without a process: gives the photo back, once it is let."""

    def __init__(self, gate: threading.Event | None = None) -> None:
        self.gate = gate or threading.Event()
        if gate is None:
            self.gate.set()
        self.ended = 0

    async def start(self) -> None: ...

    async def do(self, job: Job) -> None:
        import asyncio

        while not self.gate.is_set() and not job.over:
            job.take({"share": 0.5, "words": "step 1 of 2", "left": None})
            await asyncio.sleep(0.01)
        if job.over:
            return
        out = Path(job.question["out"]) / "protected.png"
        out.write_bytes(Path(job.question["photo"]).read_bytes())
        found = {"width": 1, "height": 1, "bytes": out.stat().st_size, "budget_used": 1.0}
        told = {"left": None, "protection": "copier", "against": "", "notes": []}
        job.take({"answer": {"file": out.name, **found, **told}})

    async def end(self) -> None:
        self.ended += 1


def picture(width: int = 96, height: int = 80, seed: int = 0, format: str = "PNG") -> bytes:
    """The file of a photo."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def send(client: Any, content: bytes | None = None, **fields: Any) -> Any:
    """Send a photo."""
    photo = picture() if content is None else content
    return client.post("/v1/protect", files={"photo": ("a.png", photo)}, data=fields)


def until(client: Any, id: str, *states: str, seconds: float = 280) -> dict[str, Any]:
    """Wait for a job to come to one of these states."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = client.get(f"/v1/jobs/{id}")
        assert answer.status_code == 200, answer.text
        if answer.json()["state"] in states:
            return answer.json()
        time.sleep(0.05)
    raise AssertionError(f"{id} did not come to {states}")


@contextmanager
def served(root: Path, **how: Any) -> Iterator[httpx2.Client]:
    """Serve from a thread, with a process that computes, and yield a client."""
    with listening("127.0.0.1", 0) as taken, held(root) as spool:
        workers = how.pop("workers", None) or [Process(WORK)]
        app = create_app(spool, workers, **{"protections": OFFERED, **how})
        server = uvicorn.Server(uvicorn.Config(app, **QUIET))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        try:
            with httpx2.Client(base_url=address, timeout=60) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(20)
