"""The same service, computed by Ray Serve on this machine's cores."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from helpers.service import picture, send, until
from PIL import Image

pytest.importorskip("ray.serve")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_photos_travel_to_a_replica_and_back(tmp_path: Path) -> None:
    words = ["serve", "--engine", "ray", "--port", "0", "--spool", str(tmp_path / "spool")]
    words += ["--protection", "noise", "--protection", "pid:tiny:steps=100000"]
    program = subprocess.Popen(
        [sys.executable, "-m", "cloakwork", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert program.stdout
        line = next(line for line in program.stdout if "The service is at" in line)
        address = line.split(" at ")[1].split(",")[0]
        with httpx2.Client(base_url=address, timeout=60) as client:
            content = picture()
            done = until(client, send(client, content).json()["id"], "done", seconds=240)
            made = Image.open(io.BytesIO(client.get(done["result"]).content))
            assert made.size == (96, 80) and done["found"]["budget_used"] > 0
            damaged = send(client, content[:9000]).json()["id"]
            (fault,) = until(client, damaged, "failed")["faults"]
            assert fault.startswith("The photo is damaged")
            # a job that is stopped makes way for the next one
            long = send(client, content, method="pid").json()["id"]
            while not client.get(f"/v1/jobs/{long}").json()["progress"]["words"]:
                pass
            assert client.delete(f"/v1/jobs/{long}").status_code == 204
            until(client, send(client, content).json()["id"], "done")
    finally:
        program.terminate()
        program.wait(60)
