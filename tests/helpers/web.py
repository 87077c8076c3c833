"""The page, as tests ask it: in memory, or from a server of its own."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import uvicorn
from starlette.testclient import TestClient

from cloakwork.web.app import create_app
from cloakwork.web.asked import Methods
from cloakwork.web.hosts import Keys, hosts
from cloakwork.web.server import listening

HOST = "127.0.0.1:8765"
ADDRESS = f"http://{HOST}"
SHORT = Methods(
    quick="pid:tiny:steps=1",
    strongest="pid:tiny:steps=2",
    preview="pid:tiny:steps=1",
    attacker="sdedit:photoguard:steps=2",
    purifiers=("blur",),
    coders=("tiny",),
    auditor="dreambooth:steps=1,class_images=1,sampling.n=1,sampling.steps=1",
)
"""What is computed, in as few steps as there can be."""


@dataclass(frozen=True)
class Visitor:
    """Somebody's browser, without a browser: it shows an Origin, as browsers do."""

    client: TestClient
    keys: Keys
    root: Path

    @property
    def app(self) -> Any:
        return self.client.app

    def enter(self) -> None:
        """Open the page by its key."""
        answer = self.client.get(f"/?key={self.keys.lasting}")
        assert answer.status_code == 200, answer.text

    def upload(self, name: str, content: bytes, **headers: str) -> Any:
        return self.client.post(
            "/photos", content=content, headers={"x-name": quote(name), **headers}
        )

    def files(self) -> list[str]:
        """Return what lies on the disk of all pages."""
        return sorted(
            p.relative_to(self.root).as_posix() for p in self.root.rglob("*") if p.is_file()
        )


def visitor(root: Path, **how: Any) -> Visitor:
    """Return a visitor of a page of its own; no job is done."""
    keys = Keys()
    app = create_app(root, hosts(8765), keys, methods=SHORT, **how)
    return Visitor(browser_of(app), keys, root)


def browser_of(app: Any) -> TestClient:
    """Return another browser of the same page."""
    return TestClient(app, base_url=ADDRESS, headers={"Origin": ADDRESS})


@contextmanager
def served(root: Path, **how: Any) -> Iterator[tuple[str, Keys]]:
    """Serve the page from a thread, and yield its address and keys."""
    with listening("127.0.0.1", 0) as taken:
        port, keys = taken.getsockname()[1], Keys()
        app = create_app(root, hosts(port), keys, **{"methods": SHORT, **how})
        config = uvicorn.Config(
            app, log_level="warning", ws="none", proxy_headers=False, timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}", keys
        finally:
            server.should_exit = True
            thread.join(20)


def addresses_in(html: str) -> list[str]:
    """Return everything that a page loads or leads to."""
    return re.findall(r"""(?:src|href|action|data|poster)\s*=\s*["']([^"']+)""", html)
