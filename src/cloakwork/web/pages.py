"""Pages: what one open browser page has given and got. Its files are deleted with it."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cloakwork.errors import UserError
from cloakwork.web.jobs import Job
from cloakwork.web.limits import Limits
from cloakwork.web.uploads import Upload
from cloakwork.workflows.locks import try_lock

PREFIX = "cloakwork-web-"
LOCK = "lock"  # held as long as the program runs


@dataclass(eq=False)
class Page:
    """One page of one browser; nobody else sees it."""

    id: str
    """what the browser shows to be let in, secret"""
    folder: Path
    photos: dict[str, Upload] = field(default_factory=dict)
    """by id, in the order in which they came"""
    names: set[str] = field(default_factory=set)
    """of the photos, and of those on their way"""
    receiving: int = 0
    """photos on their way"""
    jobs: dict[str, Job] = field(default_factory=dict)
    """the latest of each kind"""
    watchers: int = 0
    """connections that are told what changes"""
    seen: float = field(default_factory=time.monotonic)
    changes: int = 0
    closed: bool = False

    @property
    def inbox(self) -> Path:
        """Where the photos lie."""
        return self.folder / "photos"

    @property
    def bytes(self) -> int:
        """Size of all photos."""
        return sum(photo.size for photo in self.photos.values())

    def changed(self) -> None:
        """Take note that watchers have to be told."""
        self.changes += 1
        self.seen = time.monotonic()

    def job(self, id: str) -> Job | None:
        """Return a job by its id."""
        return next((job for job in self.jobs.values() if job.id == id), None)


class Pages:
    """The pages that are open.

    Args:
        root: folder of all their files.
        limits: how many there may be, and how long they stay unlooked at.
    """

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root, self.limits = root, limits
        self._pages: dict[str, Page] = {}

    def open(self) -> Page:
        """Open a page.

        Raises:
            UserError: too many are open.
        """
        if len(self._pages) >= self.limits.pages:
            raise UserError(
                f"{self.limits.pages} pages are open already; close one and wait a minute."
            )
        # the folder's name is no secret, so it is not the page's
        folder = Path(tempfile.mkdtemp(prefix="page-", dir=self.root))
        page = Page(secrets.token_urlsafe(32), folder)
        self._pages[page.id] = page
        return page

    def __iter__(self) -> Iterator[Page]:
        return iter(list(self._pages.values()))

    def find(self, id: str | None) -> Page | None:
        """Return an open page."""
        return self._pages.get(id or "")

    def close(self, page: Page) -> None:
        """Forget a page and delete its files."""
        page.closed = True
        self._pages.pop(page.id, None)
        shutil.rmtree(page.folder, ignore_errors=True)

    def unwatched(self) -> list[Page]:
        """Return the pages that nobody has looked at for too long."""
        latest = time.monotonic() - self.limits.idle_seconds
        return [
            page
            for page in self._pages.values()
            if not page.watchers and not page.receiving and page.seen < latest
        ]


@contextmanager
def private_folder(above: Path | None = None) -> Iterator[Path]:
    """Yield a folder that only this user may enter, and delete it with all that is in it.

    What earlier runs left behind, which were killed, is deleted first.

    Args:
        above: where it is made; None: among the system's temporary files.
    """
    above = Path(tempfile.gettempdir()) if above is None else above
    sweep(above)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=above))
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try_lock(lock)
        yield folder
    finally:
        os.close(lock)
        shutil.rmtree(folder, ignore_errors=True)


def sweep(above: Path) -> None:
    """Delete the folders of runs of this user that have ended without doing so."""
    for folder in above.glob(f"{PREFIX}*"):
        # another user may have put a link there that leads to somebody's photos
        if folder.is_symlink() or not folder.is_dir() or not _mine(folder):
            continue
        with suppress(OSError):
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                try_lock(lock)  # an OSError: it is running
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _mine(folder: Path) -> bool:
    """Return whether a folder is this user's."""
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
