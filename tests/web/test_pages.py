"""Nothing of a page is left when it ends, however that comes about."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
import pytest
from helpers.web import served, visitor

from cloakwork.files import SAMPLE_PHOTOS
from cloakwork.web.limits import Limits
from cloakwork.web.pages import LOCK, PREFIX, private_folder, sweep

PHOTO = (SAMPLE_PHOTOS / "chelsea.png").read_bytes()


def waited(condition: Callable[[], bool], seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
    return condition()


def test_who_asks_for_it_is_forgotten_at_once(tmp_path: Path) -> None:
    page = visitor(tmp_path)
    page.enter()
    page.upload("a.png", PHOTO)
    assert len(page.files()) == 1
    assert page.client.post("/forget").status_code == 204
    assert list(tmp_path.iterdir()) == []
    assert page.upload("a.png", PHOTO).status_code == 403


def test_uploads_are_deleted_when_the_page_is_closed(tmp_path: Path) -> None:
    with served(tmp_path, limits=Limits(idle_seconds=1)) as (address, keys):
        with httpx2.Client(follow_redirects=True, headers={"Origin": address}) as client:
            client.get(f"{address}/?key={keys.lasting}")
            with client.stream("GET", f"{address}/events") as told:
                lines = told.iter_lines()
                assert next(lines).startswith("data: ")
                answer = client.post(
                    f"{address}/photos", content=PHOTO, headers={"x-name": "a.png"}
                )
                assert answer.status_code == 201
                time.sleep(2)  # an open page is not forgotten
                assert len(list(tmp_path.rglob("a.png"))) == 1
            assert waited(lambda: not list(tmp_path.iterdir()))
            assert client.get(f"{address}/events").status_code == 403


def test_the_folder_is_private_and_goes_at_the_end(tmp_path: Path) -> None:
    with private_folder(tmp_path) as root:
        assert root.parent == tmp_path and root.name.startswith(PREFIX)
        assert os.name == "nt" or root.stat().st_mode & 0o077 == 0
        (root / "page" / "photos").mkdir(parents=True)
        (root / "page" / "photos" / "a.png").write_bytes(PHOTO)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_goes_at_the_next_start(tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}left"
    (left / "photos").mkdir(parents=True)
    (left / LOCK).touch()
    (left / "photos" / "a.png").write_bytes(PHOTO)
    strange = tmp_path / "others"
    strange.mkdir()
    with private_folder(tmp_path) as running:
        assert not left.exists() and strange.exists()
        (running / "a.png").touch()
        with private_folder(tmp_path) as second:  # the first one still runs
            assert (running / "a.png").exists() and second != running


def test_a_link_is_not_swept(tmp_path: Path) -> None:
    mine = tmp_path / "photos"
    mine.mkdir()
    (mine / "a.png").write_bytes(PHOTO)
    (tmp_path / f"{PREFIX}link").symlink_to(mine, target_is_directory=True)
    sweep(tmp_path)
    assert (mine / "a.png").exists()


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_the_command_leaves_nothing_behind(tmp_path: Path, stop: signal.Signals) -> None:
    """Neither files nor a process, when it is ended politely, though a page is open."""
    with (
        started(tmp_path) as (process, client, address),
        client.stream("GET", f"{address}/events") as told,
    ):
        lines = told.iter_lines()
        assert next(lines).startswith("data: ")
        children = psutil.Process(process.pid).children()
        process.send_signal(stop)
        assert "event: ended" in list(lines)
        said, wrong = process.communicate(timeout=30)
    assert process.returncode == 0 and "what was uploaded is deleted" in said
    assert "Error" not in wrong and "ERROR" not in wrong
    assert list(tmp_path.glob(f"{PREFIX}*")) == []
    assert waited(lambda: not any(child.is_running() for child in children))


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind")
def test_the_process_that_computes_does_not_outlive_a_kill(tmp_path: Path) -> None:
    with started(tmp_path) as (process, _, _):
        children = psutil.Process(process.pid).children()
        assert len(children) == 1
        process.kill()
        process.communicate(timeout=30)
    assert waited(lambda: not children[0].is_running())
    assert len(list(tmp_path.rglob("a.png"))) == 1
    sweep(tmp_path)
    assert list(tmp_path.glob(f"{PREFIX}*")) == []


@contextmanager
def started(folder: Path) -> Iterator[tuple[subprocess.Popen[str], httpx2.Client, str]]:
    """Start `cloakwork web` with a folder for its files, upload a photo, and yield its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "cloakwork", "web", "--port", "0", "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(folder), "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        key = process.stdout.readline().split()[-1]
        address = key.partition("/?")[0]
        with httpx2.Client(follow_redirects=True, headers={"Origin": address}) as client:
            assert client.get(key).status_code == 200
            headers = {"x-name": "a.png"}
            answer = client.post(f"{address}/photos", content=PHOTO, headers=headers)
            assert answer.status_code == 201 and len(list(folder.rglob("a.png"))) == 1
            yield process, client, address
    finally:
        process.kill()
        process.wait()
