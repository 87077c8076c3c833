"""How many photos `cloakwork serve` protects, and how long programs wait for theirs.

    python benchmarks/load.py [--protection learned] [--workers 2] [--clients 1 4 16] [--photos 200]

A service is started on this machine, at an address of loopback. So many clients at once send it
photos, ask until each is done, and fetch it; then they send the next one. Times are those of a
client, from the first byte sent to the last one received. Memory is that of the service and its
processes together. All goes into results/load.json, beside what was measured with other
protections; `python benchmarks/docs.py` makes the table of it.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
from PIL import Image

from cloakwork.files import SAMPLE_PHOTOS, write_json
from cloakwork.photos.folders import photo_files

ASK = 0.02  # seconds between two questions whether a photo is done


@dataclass
class Level:
    """What was found with so many clients."""

    clients: int
    seconds: list[float] = field(default_factory=list)
    """of each photo"""
    refused: int = 0
    """times that a photo was to be sent again later"""
    wall: float = 0.0


def squares(side: int) -> list[bytes]:
    """The sample photos as squares of this many pixels, as JPEG files."""
    made = []
    for file in photo_files(SAMPLE_PHOTOS):
        photo = Image.open(file).convert("RGB")
        edge = min(photo.size)
        left, top = (photo.width - edge) // 2, (photo.height - edge) // 2
        square = photo.crop((left, top, left + edge, top + edge)).resize((side, side))
        content = io.BytesIO()
        square.save(content, "JPEG", quality=90)
        made.append(content.getvalue())
    return made


async def one(client: httpx2.AsyncClient, photo: bytes, level: Level, fields: Any) -> None:
    """Send a photo, and fetch it once it is done."""
    begun = time.monotonic()
    while True:
        answer = await client.post("/v1/protect", files={"photo": ("a.jpg", photo)}, data=fields)
        if answer.status_code != 429:
            break
        level.refused += 1
        await asyncio.sleep(float(answer.headers["retry-after"]))
    answer.raise_for_status()
    job = answer.json()
    while job["state"] in ("waiting", "running"):
        await asyncio.sleep(ASK)
        job = (await client.get(f"/v1/jobs/{job['id']}")).json()
    if job["state"] != "done":
        raise RuntimeError(f"A photo was not protected: {job['faults']}")
    (await client.get(job["result"])).raise_for_status()
    level.seconds.append(time.monotonic() - begun)


async def measured(
    address: str, clients: int, photos: int, contents: Sequence[bytes], **fields: Any
) -> Level:
    """Let clients send so many photos all together."""
    level, left = Level(clients), iter(range(photos))
    begun = time.monotonic()

    async def send() -> None:
        async with httpx2.AsyncClient(base_url=address, timeout=600) as client:
            for number in left:
                await one(client, contents[number % len(contents)], level, fields)

    await asyncio.gather(*(send() for _ in range(clients)))
    level.wall = time.monotonic() - begun
    return level


@contextmanager
def service(protection: str, workers: int) -> Iterator[tuple[str, psutil.Process]]:
    """Start a service, and yield its address and its process."""
    with tempfile.TemporaryDirectory() as spool:
        words = ["--port", "0", "--spool", spool, "--workers", str(workers)]
        program = subprocess.Popen(
            [sys.executable, "-m", "cloakwork", "serve", *words, "--protection", protection],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert program.stdout
            line = program.stdout.readline()
            yield line.split(" at ")[1].split(",")[0], psutil.Process(program.pid)
        finally:
            program.terminate()
            program.wait(30)


def megabytes(process: psutil.Process) -> float:
    """Memory of a process and its children together."""
    return sum(p.memory_info().rss for p in (process, *process.children())) / 1e6


def cpu_seconds(process: psutil.Process) -> float:
    """CPU seconds of a process and its children so far."""
    times = [p.cpu_times() for p in (process, *process.children())]
    return sum(t.user + t.system for t in times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--protection", default="learned")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--photos", type=int, default=200, help="for each number of clients")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--out", type=Path, default=Path("results/load.json"))
    args = parser.parse_args()
    contents = squares(args.side)
    rows: list[dict[str, Any]] = []
    with service(args.protection, args.workers) as (address, process):
        # models are loaded, and every worker has seen every photo's size
        asyncio.run(measured(address, args.workers, 4 * args.workers, contents))
        start = megabytes(process)
        for clients, total in zip(
            args.clients, itertools.count(args.photos, args.photos), strict=False
        ):
            before = cpu_seconds(process)
            level = asyncio.run(measured(address, clients, args.photos, contents))
            rows.append(
                {
                    "clients": clients,
                    "photos": len(level.seconds),
                    "photos_a_minute": round(60 * len(level.seconds) / level.wall, 1),
                    "p50": round(float(np.percentile(level.seconds, 50)), 3),
                    "p99": round(float(np.percentile(level.seconds, 99)), 3),
                    "cpu_seconds": round((cpu_seconds(process) - before) / len(level.seconds), 3),
                    "refused": level.refused,
                    "photos_so_far": total,
                    "megabytes": round(megabytes(process)),
                }
            )
            print(rows[-1], flush=True)
    made = {
        "workers": args.workers,
        "cores": psutil.cpu_count(),
        "side": args.side,
        "megabytes_at_start": round(start),
        "rows": rows,
    }
    known = json.loads(args.out.read_text()) if args.out.is_file() else {}
    write_json(args.out, known | {args.protection: made})


if __name__ == "__main__":
    main()
