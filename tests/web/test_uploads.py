"""What a page sends: names, sizes, contents, and many at once."""

from __future__ import annotations

import io
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import httpx2
import pytest
from helpers.web import Visitor, browser_of, served, visitor
from PIL import Image

from cloakwork.web.limits import Limits
from cloakwork.web.uploads import free_name


def png(side: int = 64, colour: str = "teal") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def page(tmp_path: Path) -> Visitor:
    found = visitor(tmp_path)
    found.enter()
    return found


@pytest.mark.parametrize(
    "name",
    [
        "../a.png",
        "a/../../b.png",
        "/etc/a.png",
        "..\\a.png",
        ".",
        "..",
        "",
        "a//b.png",
        ".cloakwork/lock",
        "trip/.hidden.png",
        " ",
        "trip/ /a.png",
        "x" * 300 + ".png",
        "/".join("abcdefghij") + ".png",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(page: Visitor, name: str) -> None:
    answer = page.upload(name, png())
    assert answer.status_code == 400
    assert "is no name that a photo can have here" in answer.json()["faults"][0]
    assert page.files() == []


def test_a_name_that_is_no_text_is_refused_or_harmless(page: Visitor) -> None:
    answer = page.client.post("/photos", content=png(), headers={"x-name": "%ff%fe..%2f..%2fa.png"})
    assert answer.status_code == 400 and page.files() == []


def test_folders_and_letters_of_names_stay(page: Visitor) -> None:
    names = ["trip/day 1/a.png", "été & (b).png", "50% #1.png", "日本.png"]
    for name in names:
        assert page.upload(name, png()).json()["name"] == name
    assert [f.split("/photos/")[1] for f in page.files()] == sorted(names)


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        ("C:\\a.png", "C__a.png"),
        ("a\0b.png", "a_b.png"),
        ("10:30?.png", "10_30_.png"),
        ("nul.png", "_nul.png"),
        ("trip. /a.png", "trip/a.png"),
    ],
)
def test_letters_that_some_disks_refuse_are_replaced(
    page: Visitor, name: str, becomes: str
) -> None:
    assert page.upload(name, png()).json()["name"] == becomes


def test_photos_of_one_name_stand_beside_each_other(page: Visitor) -> None:
    """Whatever their endings and their case: their results would be one file."""
    answers = [page.upload(name, png()).json()["name"] for name in ("a.png", "a.png", "A.jpg")]
    assert answers == ["a.png", "a (2).png", "A (3).jpg"]
    assert free_name(PurePosixPath("b/a.png"), ["a.png"]).as_posix() == "b/a.png"


def chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)


def bomb(side: int) -> bytes:
    """A PNG of a few hundred kilobytes that holds side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(side * (1 + -(-side // 8))), 9)
    begin = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return begin + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_before_it_is_decoded(page: Visitor) -> None:
    packed = bomb(20_000)
    assert len(packed) < 100_000
    answer = page.upload("bomb.png", packed)
    assert answer.status_code == 400
    assert "bomb.png has more than the 200 megapixels" in answer.json()["faults"][0]
    assert page.files() == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "a.png is empty"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is not a photo in a known format"),
        (b"<script>alert(1)</script>", "is not a photo in a known format"),
        (png()[:100], "a.png is damaged or cut short"),
        (png(32), "a.png is 32 x 32 pixels where each side needs at least 64"),
    ],
)
def test_what_is_no_photo_is_said_without_our_folders(
    page: Visitor, content: bytes, said: str
) -> None:
    answer = page.upload("a.png", content)
    assert answer.status_code == 400
    (fault,) = answer.json()["faults"]
    assert said in fault and fault.startswith("a.png ") and str(page.root) not in fault
    assert page.files() == []
    assert page.upload("a.png", png()).json()["name"] == "a.png"


def test_a_file_too_large_is_not_kept(tmp_path: Path) -> None:
    page = visitor(tmp_path, limits=Limits(file_bytes=1_000_000))
    page.enter()

    def chunks():  # says no length beforehand
        for _ in range(3):
            yield bytes(500_000)

    for content in (bytes(1_000_001), chunks()):
        answer = page.upload("a.png", content)  # type: ignore[arg-type]
        assert "more than the 1 MB" in answer.json()["faults"][0]
    assert page.files() == []


def test_a_page_takes_so_many_bytes_and_photos(tmp_path: Path) -> None:
    size = len(png())
    page = visitor(tmp_path, limits=Limits(page_bytes=2 * size, photos=3))
    page.enter()
    assert [page.upload(f"{i}.png", png()).status_code for i in range(3)] == [201, 201, 400]
    few = visitor(tmp_path, limits=Limits(photos=1))
    few.enter()
    assert few.upload("a.png", png()).status_code == 201
    answer = few.upload("b.png", png())
    assert (answer.status_code, answer.json()["faults"]) == (
        413,
        ["A page takes 1 photos. Protect these first, then choose the others."],
    )


def test_so_many_pages_are_open(tmp_path: Path) -> None:
    page = visitor(tmp_path, limits=Limits(pages=1))
    page.enter()
    answer = browser_of(page.app).get(f"/?key={page.keys.lasting}")
    assert answer.json()["faults"] == ["1 pages are open already; close one and wait a minute."]


def test_a_hundred_files_at_once_are_taken_or_told_to_wait(tmp_path: Path) -> None:
    """No more than some are received at the same time, and nothing breaks."""
    with served(tmp_path, limits=Limits(at_once=4)) as (address, keys):
        limits = httpx2.Limits(max_connections=100)
        with httpx2.Client(limits=limits, timeout=60, follow_redirects=True) as client:
            client.get(f"{address}/?key={keys.lasting}")
            begin = threading.Barrier(100)

            def send(i: int) -> int:
                begin.wait()
                headers = {"x-name": f"{i}.png", "Origin": address}
                return client.post(f"{address}/photos", content=png(), headers=headers).status_code

            with ThreadPoolExecutor(100) as pool:
                found = list(pool.map(send, range(100)))
            assert set(found) <= {201, 429} and found.count(201) >= 4
            kept = [p for p in tmp_path.rglob("*.png")]
            assert len(kept) == found.count(201)


def test_photos_that_are_removed_are_deleted(page: Visitor) -> None:
    id = page.upload("a.png", png()).json()["id"]
    assert len(page.files()) == 1
    assert page.client.get(f"/photos/{id}").content == png()
    assert page.client.delete(f"/photos/{id}").status_code == 204
    assert page.files() == []
    assert page.client.get(f"/photos/{id}").status_code == 404


@pytest.mark.parametrize("name", ["a.html", "a.svg", "a.js", "a"])
def test_a_photo_is_never_shown_as_anything_else(page: Visitor, name: str) -> None:
    """Files can be photos and something else at the same time."""
    id = page.upload(name, png()).json()["id"]
    answer = page.client.get(f"/photos/{id}")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    "address",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/en.json",
        "/photos/..%2f..%2flock",
        "/photos/%2e%2e",
        "/jobs/../../lock/zip",
        "/jobs/x/pictures/0/..%2f..%2flock",
        "/jobs/x/pictures/-1/after",
        "//etc/passwd",
    ],
)
def test_no_address_leads_to_a_file_that_is_not_shown(page: Visitor, address: str) -> None:
    answer = page.client.get(address)
    assert answer.status_code == 404 and "import" not in answer.text


def test_another_browser_sees_nothing(page: Visitor) -> None:
    id = page.upload("a.png", png()).json()["id"]
    other = browser_of(page.app)
    assert other.get(f"/photos/{id}").status_code == 403
    other.get(f"/?key={page.keys.lasting}")  # on a page of its own
    assert other.get(f"/photos/{id}").status_code == 404
    assert other.delete(f"/photos/{id}").status_code == 404
    assert other.post("/jobs", json={"kind": "preview", "photo": id}).json()["faults"] == [
        "There are no photos yet; choose some first."
    ]
    assert page.client.get(f"/photos/{id}").status_code == 200


def test_ids_cannot_be_guessed(page: Visitor) -> None:
    ids = {page.upload(f"{i}.png", png()).json()["id"] for i in range(3)}
    assert len(ids) == 3 and all(len(id) >= 16 for id in ids)
    cookies = dict(page.client.cookies)
    assert len(cookies["cloakwork"]) >= 40


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"kind": "remove"}, "There is no job 'remove'."),
        ({}, "There is no job None."),
        (
            {"kind": "preview", "strength": "max"},
            "The strength is 'max'; allowed are faint, normal",
        ),
        ({"kind": "protect", "strength": "faint", "choice": "mine"}, "The choice is 'mine'"),
        (
            {"kind": "protect", "strength": "faint", "choice": "quick", "format": "exe"},
            "The format is 'exe'; allowed are png, same.",
        ),
        ({"kind": "edit", "number": 0, "prompt": "x"}, "There is no such protected photo"),
        ({"kind": ["protect"]}, "There is no job ['protect']."),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    page: Visitor, question: dict[str, object], said: str
) -> None:
    page.upload("a.png", png())
    answer = page.client.post("/jobs", json=question)
    assert answer.status_code == 400 and said in answer.json()["faults"][0]


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 5_000, b"{" + b" " * 30_000])
def test_a_question_that_is_none_is_refused(page: Visitor, body: bytes) -> None:
    assert page.client.post("/jobs", content=body).status_code == 400
