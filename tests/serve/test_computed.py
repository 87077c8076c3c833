"""What the service computes, in a process of its own, and what a kill leaves of it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import numpy as np
import psutil
import pytest
from helpers.service import picture, send, served, until
from helpers.spies import pixels_of
from PIL import Image

from cloakwork.serve.spool import LOST
from cloakwork.workflows.protect import protect


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx2.Client]:
    with served(tmp_path_factory.mktemp("spool")) as client:
        yield client


def fetched(client: httpx2.Client, id: str) -> bytes:
    return client.get(until(client, id, "done")["result"]).content


def test_it_is_what_the_command_writes(
    client: httpx2.Client, sample_files: list[Path], tmp_path: Path
) -> None:
    fields = {"method": "pid", "width": 100, "quality": 75, "budget": 6, "strength": "normal"}
    id = send(client, sample_files[0].read_bytes(), **fields).json()["id"]
    job = until(client, id, "done")
    (record,) = protect(
        sample_files[0],
        tmp_path / "out",
        protection="pid:tiny:steps=2",
        budget=6,
        strength="normal",
        for_width=100,
        jpeg=75,
        strip_gps=True,
    )
    (photo,) = record.photos
    made = np.array(Image.open(io.BytesIO(fetched(client, id)))).astype(int)
    assert np.array_equal(made, pixels_of(photo.output))
    found = {name: job["found"][name] for name in ("width", "height", "left", "bytes")}
    assert found == {name: getattr(photo, name) for name in found}
    assert "tiny" in job["found"]["against"]


def test_damage_is_a_sentence(client: httpx2.Client) -> None:
    id = send(client, picture()[:9000], method="noise").json()["id"]
    (fault,) = until(client, id, "failed")["faults"]
    assert fault.startswith("The photo is damaged")
    # the next one is done all the same
    assert fetched(client, send(client, method="noise").json()["id"])


def test_a_kill_loses_no_finished_job(tmp_path: Path) -> None:
    """The program is killed while it computes, and started again on the same spool."""
    words = ["serve", "--port", "0", "--spool", str(tmp_path / "spool")]
    words += ["--protection", "noise", "--protection", "pid:tiny:steps=100000"]

    def start() -> tuple[subprocess.Popen[str], httpx2.Client]:
        program = subprocess.Popen(
            [sys.executable, "-m", "cloakwork", *words], stdout=subprocess.PIPE, text=True
        )
        assert program.stdout
        address = program.stdout.readline().split(" at ")[1].split(",")[0]
        return program, httpx2.Client(base_url=address, timeout=60)

    program, client = start()
    try:
        done = [send(client, picture(seed=seed)).json()["id"] for seed in range(2)]
        for id in done:
            until(client, id, "done")
        begun, waiting = (send(client, method="pid").json()["id"] for _ in range(2))
        until(client, begun, "running")
        worker = psutil.Process(program.pid).children()
        os.kill(program.pid, signal.SIGKILL)
        program.wait(20)
        psutil.wait_procs(worker, 20)
        assert not any(process.is_running() for process in worker), "it outlives no kill"
        program, client = start()
        for id in (begun, waiting):
            assert until(client, id, "failed")["faults"] == [LOST]
        assert all(Image.open(io.BytesIO(fetched(client, id))).size == (96, 80) for id in done)
        for id in done:  # the last byte may come before what it was read from is deleted
            while client.get(f"/v1/jobs/{id}").status_code != 404:
                pass
        left = [p.name for p in (tmp_path / "spool").rglob("*") if p.is_file()]
        assert sorted(left) == ["lock", "state.json", "state.json"]
    finally:
        program.kill()
        program.wait(20)


@pytest.mark.slow
def test_memory_stays_flat(client: httpx2.Client) -> None:
    """Neither the program nor its process grows with the photos that went through."""
    me = psutil.Process()

    def megabytes() -> float:
        return sum(p.memory_info().rss for p in (me, *me.children())) / 1e6

    def photos(count: int) -> None:
        for seed in range(count):
            fetched(client, send(client, picture(256, 256, seed), method="learned").json()["id"])

    photos(20)
    before = megabytes()
    photos(100)
    assert megabytes() - before < 60
