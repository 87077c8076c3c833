"""Who is refused: before anything else is looked at, whatever is asked."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from helpers.web import ADDRESS, HOST, Visitor, browser_of, visitor

from cloakwork.errors import UserError
from cloakwork.web.guard import HEADERS
from cloakwork.web.hosts import Keys
from cloakwork.web.server import listening, serve

READING = [
    "/",
    "/events",
    "/static/page.js",
    "/photos/x",
    "/jobs/x/zip",
    "/jobs/x/pictures/0/after",
]
CHANGING = [
    ("POST", "/photos"),
    ("DELETE", "/photos/x"),
    ("POST", "/jobs"),
    ("DELETE", "/jobs/x"),
    ("POST", "/jobs/x/save"),
    ("POST", "/forget"),
]


@pytest.fixture
def page(tmp_path: Path) -> Visitor:
    found = visitor(tmp_path)
    found.enter()
    return found


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_an_address_that_others_reach_is_refused(host: str) -> None:
    with pytest.raises(UserError, match=r"allowed are 127\.0\.0\.1, ::1 and localhost"):
        serve(host, 0, browser=False)


def test_the_page_listens_on_loopback_alone() -> None:
    with listening("127.0.0.1", 0) as taken:
        host, port = taken.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(UserError, match=f"The port {port} of 127.0.0.1 cannot be had"):
            listening("127.0.0.1", port)


def test_the_usual_port_gives_way_to_another() -> None:
    with listening("127.0.0.1", None) as first, listening("127.0.0.1", None) as second:
        assert isinstance(first, socket.socket)
        assert first.getsockname()[1] != second.getsockname()[1]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:80"])
@pytest.mark.parametrize("address", READING)
def test_a_foreign_host_reads_nothing(page: Visitor, host: str, address: str) -> None:
    answer = page.client.get(address, headers={"Host": host})
    assert (answer.status_code, answer.json()["faults"]) == (
        403,
        [f"This page is at {HOST} or [::1]:8765 or localhost:8765 alone."],
    )


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9000", None])
@pytest.mark.parametrize(("method", "address"), CHANGING)
def test_a_foreign_origin_changes_nothing(
    page: Visitor, method: str, address: str, origin: str | None
) -> None:
    """None: a request that does not say where it is from."""
    del page.client.headers["Origin"]
    headers = {} if origin is None else {"Origin": origin}
    answer = page.client.request(method, address, headers=headers)
    assert answer.status_code == 403
    assert answer.json()["faults"] == ["Only the page itself may ask for this."]
    assert page.client.get("/").status_code == 200 and page.files() == []


@pytest.mark.parametrize("address", [a for a in READING if a != "/"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_cannot_embed_what_is_read(page: Visitor, address: str, site: str) -> None:
    """As an image, a script or a frame, for which browsers send no Origin."""
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
    del page.client.headers["Origin"]
    assert page.client.get(address, headers=headers).status_code == 403


def test_every_answer_has_the_policy(page: Visitor) -> None:
    answers = [page.client.get(a) for a in READING if a != "/events"]
    answers += [page.client.request(method, address) for method, address in CHANGING]
    answers += [
        page.client.get("/nowhere"),
        page.client.get("/", headers={"Host": "evil.example"}),
        page.client.put("/photos"),
        browser_of(page.app).get("/"),
        browser_of(page.app).get("/?key=wrong"),
    ]
    assert {a.status_code for a in answers} >= {200, 400, 403, 404, 405}
    for answer in answers:
        assert (
            HEADERS.items() <= dict(answer.headers).items()
            or {k: answer.headers.get(k) for k in HEADERS} == HEADERS
        ), answer.url
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy


def test_an_error_of_ours_has_the_policy_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = visitor(tmp_path)
    page.enter()

    def fails(*args: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("cloakwork.web.pages.Page.job", fails)
    page.client._transport.raise_server_exceptions = False  # type: ignore[attr-defined]
    answer = page.client.get("/jobs/x/zip")
    assert answer.status_code == 500
    assert answer.headers["Content-Security-Policy"] == HEADERS["Content-Security-Policy"]


def test_nobody_enters_without_a_key(tmp_path: Path) -> None:
    page = visitor(tmp_path)
    for address in ("/", "/?key=wrong", "/?key="):
        answer = page.client.get(address)
        assert answer.status_code == 403 and "needs its key" in answer.text
    assert not page.client.cookies
    assert page.upload("a.png", b"").status_code == 403


def test_the_key_does_not_stay_in_the_address(tmp_path: Path) -> None:
    page = visitor(tmp_path)
    answer = page.client.get(f"/?key={page.keys.lasting}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_ticket_is_taken_once() -> None:
    keys = Keys()
    ticket = keys.ticket()
    assert keys.take(ticket) and not keys.take(ticket)
    assert keys.take(keys.lasting) and keys.take(keys.lasting)
    assert not keys.take("") and not keys.take("é")


def test_cookies_are_for_this_page_alone(tmp_path: Path) -> None:
    page = visitor(tmp_path)
    entering = page.client.get(f"/?key={page.keys.lasting}", follow_redirects=False)
    for answer in (entering, page.client.get("/")):
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert "expires" not in cookie and "max-age" not in cookie


def test_a_websocket_is_closed(page: Visitor) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), page.client.websocket_connect("/events"):
        pass


def test_the_origin_is_that_of_the_host(page: Visitor) -> None:
    """localhost and 127.0.0.1 are two origins to a browser."""
    headers = {"Host": "localhost:8765", "Origin": ADDRESS}
    assert page.client.post("/forget", headers=headers).status_code == 403
