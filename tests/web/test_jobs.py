"""What is computed for a page: by the command's workflows, in a process of its own."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import httpx2
import numpy as np
import psutil
import pytest
from helpers.web import SHORT, served
from PIL import Image

from cloakwork.errors import UserError
from cloakwork.types import Strength
from cloakwork.web import asked, saving
from cloakwork.web.jobs import CRASHED
from cloakwork.web.pages import Page
from cloakwork.web.uploads import Upload
from cloakwork.workflows.protect import protect


@dataclass(frozen=True)
class Open:
    """A page that is open, with two photos, one of them in a folder."""

    client: httpx2.Client
    address: str

    def states(self) -> Iterator[dict[str, Any]]:
        """Yield what the page is told, as long as it listens."""
        with self.client.stream("GET", f"{self.address}/events", timeout=120) as told:
            for line in told.iter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line.removeprefix("data: "))

    def begin(self, **question: Any) -> str:
        answer = self.client.post(f"{self.address}/jobs", json=question)
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def until(self, kind: str, *states: str) -> dict[str, Any]:
        """Wait for a job to come to one of these states."""
        for state in self.states():
            if (job := state["jobs"].get(kind)) and job["state"] in states:
                return job
        raise AssertionError("the page ended")

    def get(self, address: str) -> httpx2.Response:
        return self.client.get(f"{self.address}{address}")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def page(root: Path, sample_files: list[Path]) -> Iterator[Open]:
    with opened(root, sample_files) as page:
        yield page


@contextmanager
def opened(root: Path, sample_files: list[Path], **how: Any) -> Iterator[Open]:
    with served(root, **how) as (address, keys):
        headers = {"Origin": address}
        with httpx2.Client(follow_redirects=True, headers=headers, timeout=60) as client:
            client.get(f"{address}/?key={keys.lasting}")
            for file, name in zip(sample_files, ("one.png", "trip/two.png"), strict=False):
                content = file.read_bytes()
                answer = client.post(f"{address}/photos", content=content, headers={"x-name": name})
                assert answer.status_code == 201
            yield Open(client, address)


QUICK = {"kind": "protect", "choice": "quick", "strength": "uniform", "format": "png"}


@pytest.fixture(scope="module")
def done(page: Open) -> dict[str, Any]:
    page.begin(**QUICK)
    job = page.until("protect", "done", "failed")
    assert job["state"] == "done", job["faults"]
    return job


def test_photos_are_those_of_the_command(
    page: Open, done: dict[str, Any], sample_files: list[Path], tmp_path: Path
) -> None:
    """Pixel by pixel, and in its words."""
    (tmp_path / "in" / "trip").mkdir(parents=True)
    for file, name in zip(sample_files, ("one.png", "trip/two.png"), strict=False):
        (tmp_path / "in" / name).write_bytes(file.read_bytes())
    records = protect(tmp_path / "in", tmp_path / "out", protection=SHORT.quick)
    names = ["one.png", "trip/two.png"]
    assert [pair["name"] for pair in done["pairs"]] == names
    for pair, name in zip(done["pairs"], names, strict=True):
        shown = Image.open(io.BytesIO(page.get(pair["after"]).content))
        expected = Image.open(tmp_path / "out" / name)
        assert np.array_equal(np.array(shown), np.array(expected))
    answer = done["answer"]
    assert answer["head"].startswith("2 photos in 2 sets protected by pid against tiny (weights")
    assert answer["reach"].endswith("This says nothing about other models.")
    assert set(answer["notes"]) == {note for r in records for note in r.notes}


def test_no_folder_of_the_machine_is_shown(page: Open, root: Path, done: dict[str, Any]) -> None:
    assert str(root) not in json.dumps(next(page.states()))


def test_the_original_is_shown_beside_it(
    page: Open, done: dict[str, Any], sample_files: list[Path]
) -> None:
    assert page.get(done["pairs"][0]["before"]).content == sample_files[0].read_bytes()


def test_all_in_one_file(page: Open, done: dict[str, Any]) -> None:
    answer = page.get(f"/jobs/{done['id']}/zip")
    assert answer.headers["content-disposition"].startswith("attachment")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as file:
        assert file.namelist() == ["one.png", "trip/two.png", saving.TEXT]
        assert file.read("one.png") == page.get(done["pairs"][0]["after"]).content
        assert b"This says nothing about other models." in file.read(saving.TEXT)


def test_saved_into_a_folder_where_nothing_is_overwritten(
    page: Open, done: dict[str, Any], tmp_path: Path
) -> None:
    address, folder = f"{page.address}/jobs/{done['id']}/save", tmp_path / "mine"
    answer = page.client.post(address, json={"folder": str(folder)})
    assert answer.json() == {"folder": str(folder), "count": 2}
    kept = (folder / "one.png").read_bytes()
    assert kept == page.get(done["pairs"][0]["after"]).content
    assert (folder / "trip" / "two.png").is_file()
    (folder / "one.png").write_bytes(b"mine")
    answer = page.client.post(address, json={"folder": str(folder)})
    assert answer.status_code == 400
    assert "holds one.png and 1 more already, and nothing is overwritten" in answer.text
    assert (folder / "one.png").read_bytes() == b"mine"


@pytest.mark.parametrize("given", ["", "  ", "safe", "../safe", "/no/such/folder/safe", "/a\0b"])
def test_a_folder_that_is_none_is_refused(given: str) -> None:
    with pytest.raises(UserError, match=r"no whole path|no folder"):
        saving.save({"photos": []}, given)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file; name a folder"):
        saving.save({"photos": []}, str(tmp_path / "file"))


def test_the_usual_folder_is_a_new_one(tmp_path: Path) -> None:
    assert saving.usual_folder(tmp_path) == tmp_path / "protected photos"
    (tmp_path / "Pictures" / "protected photos").mkdir(parents=True)
    assert saving.usual_folder(tmp_path) == tmp_path / "Pictures" / "protected photos 2"


def test_a_preview_is_a_part_before_and_after(page: Open, done: dict[str, Any]) -> None:
    page.begin(kind="preview", strength="faint")
    job = page.until("preview", "done", "failed")
    assert job["state"] == "done", job["faults"]
    before, after = (
        np.array(Image.open(io.BytesIO(page.get(job["pairs"][0][which]).content))).astype(int)
        for which in ("before", "after")
    )
    assert before.shape == after.shape == (job["answer"]["height"], job["answer"]["width"], 3)
    assert 0 < abs(before - after).max() <= 11
    assert job["answer"]["word"] in ("unseen", "seen close up", "seen at once")


def test_the_time_is_told_for_both(tmp_path: Path, sample_files: list[Path]) -> None:
    # so many steps that they are more than what else the machine may be doing
    methods = replace(SHORT, strongest="pid:tiny:steps=200")
    with opened(tmp_path, sample_files, methods=methods) as page:
        page.begin(kind="estimate", strength="uniform")
        job = page.until("estimate", "done", "failed")
    assert 0 < job["answer"]["quick"] < job["answer"]["strongest"] < 600


def test_edits_stand_side_by_side(page: Open, done: dict[str, Any]) -> None:
    page.begin(kind="edit", number=0, prompt="a painting")
    job = page.until("edit", "done", "failed")
    assert job["state"] == "done", job["faults"]
    (pair,) = job["pairs"]
    assert pair["strength"] == 0.5 and job["answer"]["model"].startswith("tiny (weights")
    before, after = (page.get(pair[which]).content for which in ("before", "after"))
    assert before != after
    assert Image.open(io.BytesIO(before)).size == 2 * (job["answer"]["side"],)


def test_what_is_left_is_the_table_of_try(page: Open, done: dict[str, Any]) -> None:
    page.begin(kind="left", number=1)
    job = page.until("left", "done", "failed")
    assert job["state"] == "done", job["faults"]
    answer = job["answer"]
    assert [line["after"] for line in answer["lines"]] == ["as it is", "blur"]
    assert answer["lines"][0]["protected"] > answer["lines"][1]["protected"] > 0
    assert answer["head"].startswith("1 photo: latents are moved")
    assert any("cloakwork audit" in note for note in answer["notes"])


def test_an_audit_is_that_of_the_command(page: Open, done: dict[str, Any]) -> None:
    page.begin(kind="audit")
    job = page.until("audit", "done", "failed")
    assert job["state"] == "done", job["faults"]
    # so little is learned in a step that no verdict can be given; the sentences say what that means
    assert len(job["answer"]["notes"]) > 1
    sheet = page.get(job["pairs"][0]["after"])
    assert Image.open(io.BytesIO(sheet.content)).width > 100
    assert page.get(job["pairs"][0]["after"].replace("after", "before")).status_code == 404


def test_nothing_but_this_machine_is_spoken_to(page: Open, done: dict[str, Any]) -> None:
    """By the program, and by the process that computes, at any time of a job."""
    page.begin(kind="preview", strength="uniform")
    me, peers = psutil.Process(), set[str]()
    for state in page.states():
        for process in (me, *me.children(recursive=True)):
            found = process.net_connections("inet")
            peers |= {connection.raddr.ip for connection in found if connection.raddr}
        if state["jobs"]["preview"]["state"] == "done":
            break
    assert peers == {"127.0.0.1"}


def worker() -> psutil.Process:
    """Return the process that computes, for the one page that is served."""
    (found,) = [
        child for child in psutil.Process().children() if "cloakwork.web.worker" in child.cmdline()
    ]
    return found


def test_no_code_is_taken_from_the_folder_one_is_in(page: Open, done: dict[str, Any]) -> None:
    """Such as downloads, where somebody may have put a torch.py."""
    assert "-P" in worker().cmdline()[: worker().cmdline().index("-m")]


@pytest.mark.skipif(os.name == "nt", reason="signals of another kind")
def test_the_page_lives_on_when_the_process_is_killed(page: Open, done: dict[str, Any]) -> None:
    page.begin(kind="estimate", strength="faint")
    page.until("estimate", "running")
    worker().kill()
    assert page.until("estimate", "failed", "done")["faults"] == [CRASHED]
    page.begin(kind="preview", strength="strong")
    assert page.until("preview", "done", "failed")["state"] == "done"


def test_a_job_that_is_stopped_makes_way(page: Open, done: dict[str, Any]) -> None:
    first = page.begin(kind="estimate", strength="normal")
    page.until("estimate", "running")
    assert page.client.delete(f"{page.address}/jobs/{first}").status_code == 204
    assert "estimate" not in next(page.states())["jobs"]
    page.begin(kind="preview", strength="normal")
    assert page.until("preview", "done", "failed")["state"] == "done"


def test_who_changes_the_mind_gets_the_latest_preview(page: Open, done: dict[str, Any]) -> None:
    for strength in ("faint", "normal", "strong"):
        last = page.begin(kind="preview", strength=strength)
    job = page.until("preview", "done", "failed")
    assert (job["id"], job["strength"], job["state"]) == (last, "strong", "done")


def test_photos_cannot_change_while_they_are_protected(page: Open, done: dict[str, Any]) -> None:
    id = page.begin(**QUICK | {"choice": "strongest"})
    photo = next(page.states())["photos"][0]["id"]
    answers = [
        page.client.delete(f"{page.address}/photos/{photo}"),
        page.client.post(f"{page.address}/photos", content=b"", headers={"x-name": "c.png"}),
    ]
    page.client.delete(f"{page.address}/jobs/{id}")
    assert [a.status_code for a in answers] == [409, 409]
    assert answers[0].json()["faults"] == ["Photos are being protected; stop that first."]


def test_the_same_question_has_the_same_folder(tmp_path: Path) -> None:
    """In which the checkpoint lies that a stopped job goes on from."""
    page = Page("secret", tmp_path)
    page.photos["a"] = Upload("a", "a.png", tmp_path / "a.png", 1, 64, 64)

    def folder(**other: str) -> Path:
        return asked.folder_of(asked.job_of(QUICK | other, page, SHORT))

    assert folder() == folder()
    assert len({folder(), folder(strength="faint"), folder(choice="strongest")}) == 3
    before = folder()
    page.photos["b"] = Upload("b", "b.png", tmp_path / "b.png", 1, 64, 64)
    assert folder() != before


def test_strengths_are_all_that_there_are() -> None:
    assert set(asked.STRENGTHS) == set(get_args(Strength))


def test_the_program_loads_no_torch() -> None:
    import subprocess
    import sys

    code = (
        "import sys, cloakwork.web.app, cloakwork.web.server, cloakwork.web.pages;"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
