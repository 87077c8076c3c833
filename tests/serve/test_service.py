"""The service's addresses, its queue and its limits; what is computed is `test_computed`'s."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from helpers.service import OFFERED, Copier, picture, send, until
from starlette.testclient import TestClient

from cloakwork.errors import UserError
from cloakwork.serve.app import create_app
from cloakwork.serve.limits import Limits
from cloakwork.serve.server import Settings, checked
from cloakwork.serve.spool import DISK, LOST, held
from cloakwork.serve.tokens import Tokens, read_tokens
from cloakwork.web.hosts import hosts

ANNA, BEN = "anna-0123456789abcdef", "ben-0123456789abcdefg"
Opened = Callable[..., TestClient]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """Opens a service without a process, which gives photos back as they come."""
    with ExitStack() as stack:

        def open(worker: Copier | None = None, root: str = "spool", **how: Any) -> TestClient:
            spool = stack.enter_context(held(tmp_path / root))
            app = create_app(spool, [worker or Copier()], protections=OFFERED, **how)
            client = TestClient(app, base_url="http://127.0.0.1:8766")
            return stack.enter_context(client)

        yield open


def files(root: Path) -> list[str]:
    """What lies in a spool, but for its lock."""
    return sorted(p.name for p in root.rglob("*") if p.is_file() and p.name != "lock")


def test_a_photo_comes_back_and_nothing_is_kept(opened: Opened, tmp_path: Path) -> None:
    client, photo = opened(), picture()
    taken = send(client, photo)
    assert taken.status_code == 202 and taken.headers["location"].endswith(taken.json()["id"])
    job = until(client, taken.json()["id"], "done")
    assert job["progress"]["share"] == 1 and job["found"]["bytes"] == len(photo)
    assert files(tmp_path / "spool") == ["protected.png", "state.json"], "the upload is gone"
    got = client.get(job["result"])
    assert got.content == photo and got.headers["content-type"] == "image/png"
    assert "no-store" in got.headers["cache-control"]
    assert files(tmp_path / "spool") == [] and client.get(job["result"]).status_code == 404
    assert client.get(f"/v1/jobs/{job['id']}").status_code == 404


def test_progress_and_cancel(opened: Opened, tmp_path: Path) -> None:
    worker = Copier(threading.Event())
    client = opened(worker)
    first, second = (send(client).json()["id"] for _ in range(2))
    running = until(client, first, "running")
    assert client.get(f"/v1/jobs/{second}").json()["ahead"] == 1
    assert client.get(f"/v1/jobs/{first}/result").status_code == 409
    while not running["progress"]["share"]:
        running = client.get(f"/v1/jobs/{first}").json()
    assert running["progress"]["words"] == "step 1 of 2"
    assert client.delete(f"/v1/jobs/{first}").status_code == 204 and worker.ended == 1
    assert client.get(f"/v1/jobs/{first}").status_code == 404
    until(client, second, "running")
    worker.gate.set()
    until(client, second, "done")
    assert client.delete(f"/v1/jobs/{second}").status_code == 204
    assert files(tmp_path / "spool") == []


def test_a_full_queue_says_when_to_come_again(opened: Opened, tmp_path: Path) -> None:
    worker = Copier(threading.Event())
    client = opened(worker, limits=Limits(jobs=2))
    until(client, send(client).json()["id"], "running")
    assert [send(client).status_code for _ in range(3)] == [202, 202, 429]
    refused = send(client)
    assert int(refused.headers["retry-after"]) >= 1 and "try again" in refused.json()["faults"][0]
    assert client.get("/healthz").json() == {"status": "ok", "waiting": 2, "running": 1}
    told = client.get("/metrics").text
    assert 'cloakwork_refused_total{reason="full"} 2.0' in told
    assert "cloakwork_jobs_waiting 2.0" in told
    worker.gate.set()


def test_a_job_that_takes_too_long_is_stopped(opened: Opened, tmp_path: Path) -> None:
    worker = Copier(threading.Event())
    client = opened(worker, limits=Limits(job_seconds=0.2))
    failed = until(client, send(client).json()["id"], "failed")
    assert "more than the 0.2 seconds" in failed["faults"][0] and worker.ended
    assert files(tmp_path / "spool") == ["state.json"]


def test_what_nobody_fetches_is_removed(opened: Opened, tmp_path: Path) -> None:
    client = opened(limits=Limits(keep_seconds=0.4))
    id = send(client).json()["id"]
    while client.get(f"/v1/jobs/{id}").status_code == 200:
        pass
    assert files(tmp_path / "spool") == []


@pytest.mark.parametrize(
    ("content", "fields", "status", "said"),
    [
        (b"no photo", {}, 400, "The photo is not a photo"),
        (b"", {}, 400, "The photo is empty"),
        (picture(20, 20), {}, 400, "64"),
        (picture(400, 300), {}, 400, "0.1 megapixels"),
        (picture(220, 220), {}, 413, "0.1 MB"),
        (None, {"method": "os.path"}, 422, "allowed are noise, learned, pid"),
        (None, {"method": "noise:weights=/etc"}, 422, "allowed are"),
        (None, {"budget": "900"}, 422, "budget"),
        (None, {"quality": "0"}, 422, "quality"),
        (None, {"width": "x"}, 422, "width"),
        (None, {"strength": "loud"}, 422, "strength"),
    ],
)
def test_what_is_refused(
    content: bytes | None,
    fields: dict[str, str],
    status: int,
    said: str,
    opened: Opened,
    tmp_path: Path,
) -> None:
    limits = Limits(photo_bytes=100_000, pixels=100_000)
    if content is not None and len(content) > 300_000:  # too many pixels in few bytes
        content = picture(400, 300, format="JPEG")
    client = opened(limits=limits)
    answer = send(client, content, **fields)
    assert answer.status_code == status and said in answer.json()["faults"][0], answer.text
    assert files(tmp_path / "spool") == []


def test_too_much_is_refused_though_no_length_is_told(opened: Opened) -> None:
    client = opened(limits=Limits(photo_bytes=100_000))

    def chunks() -> Iterator[bytes]:
        yield b"--x\r\nContent-Disposition: form-data; name=photo; filename=a\r\n\r\n"
        for _ in range(40):
            yield bytes(10_000)

    kind = {"content-type": "multipart/form-data; boundary=x"}
    answer = client.post("/v1/protect", content=chunks(), headers=kind)
    assert answer.status_code == 413


def test_tokens_part_jobs(opened: Opened) -> None:
    client = opened(tokens=Tokens([ANNA, BEN]))
    assert client.get("/healthz").status_code == 200
    for wrong in ({}, {"Authorization": f"Bearer {ANNA}x"}, {"Authorization": f"Basic {ANNA}"}):
        refused = client.get("/metrics", headers=wrong)
        assert refused.status_code == 401 and refused.headers["www-authenticate"] == "Bearer"
    assert send(client).status_code == 401
    client.headers["Authorization"] = f"Bearer {ANNA}"
    id = send(client).json()["id"]
    until(client, id, "done")
    client.headers["Authorization"] = f"Bearer {BEN}"
    for address in (f"/v1/jobs/{id}", f"/v1/jobs/{id}/result"):
        assert client.get(address).status_code == 404
    assert client.delete(f"/v1/jobs/{id}").status_code == 404


def test_pages_from_elsewhere_are_refused_where_there_are_no_tokens(opened: Opened) -> None:
    client = opened(hosts=hosts(8766))
    assert client.get("/healthz").status_code == 200
    for headers in (
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert client.post("/v1/protect", headers=headers).status_code == 403


def test_what_is_done_is_found_again(opened: Opened, tmp_path: Path) -> None:
    """What an ended program leaves: a job that is done, and one that was not."""
    worker = Copier(threading.Event())
    with held(tmp_path / "spool") as spool:
        app = create_app(spool, [worker], protections=OFFERED)
        with TestClient(app, base_url="http://127.0.0.1:8766") as client:
            worker.gate.set()
            done = send(client).json()["id"]
            until(client, done, "done")
            worker.gate.clear()
            begun = send(client).json()["id"]
            until(client, begun, "running")
    (tmp_path / "spool" / "half").mkdir()
    (tmp_path / "spool" / "half" / "photo").write_bytes(b"on its way")
    client = opened()
    assert until(client, begun, "failed")["faults"] == [LOST]
    assert client.get(f"/v1/jobs/{done}/result").content == picture()
    assert files(tmp_path / "spool") == ["state.json"], "no photo is left"


def test_a_spool_is_one_services(opened: Opened) -> None:
    opened()
    with pytest.raises(UserError, match="another service's"):
        opened()


def test_public_addresses_need_tokens(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs tokens"):
        checked(Settings(host="0.0.0.0"))
    (tmp_path / "tokens").write_text(f"# mine\n\n{ANNA}\n")
    assert checked(Settings(host="0.0.0.0", tokens=tmp_path / "tokens")).owner(f"Bearer {ANNA}")
    for text, said in (("# none\n", "holds none"), ("short\n", "fewer than 16")):
        (tmp_path / "tokens").write_text(text)
        with pytest.raises(UserError, match=said):
            read_tokens(tmp_path / "tokens")
    with pytest.raises(UserError, match="protection"):
        checked(Settings(protections=("wombat",)))


def test_a_full_disk_ends_no_queue(opened: Opened, tmp_path: Path) -> None:
    """A state that cannot be written fails its job alone."""
    worker = Copier(threading.Event())
    client = opened(worker)
    first = send(client).json()["id"]
    until(client, first, "running")
    folder = tmp_path / "spool" / first
    (folder / "state.json").unlink()
    (folder / "state.json").mkdir()  # nothing can be written in its place
    worker.gate.set()
    assert until(client, first, "failed")["faults"] == [DISK]
    until(client, send(client).json()["id"], "done")
    shutil.rmtree(tmp_path / "spool")
    assert send(client).status_code == 507
