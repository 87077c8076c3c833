"""What all addresses of the page share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from cloakwork.web.asked import Methods
from cloakwork.web.hosts import Keys
from cloakwork.web.jobs import Queue
from cloakwork.web.limits import Limits
from cloakwork.web.pages import Page, Pages


@dataclass(frozen=True, eq=False)
class Site:
    """Everything that the addresses share.

    Attributes:
        pages: those that are open.
        queue: of their jobs.
        keys: what lets a browser in.
        limits: how much is taken.
        methods: what is computed.
        cookie: the name of the cookie by which a page is known; that of the key ends in "-key".
        decoding: held while a photo is decoded: one at a time, for the sake of memory.
        ending: whether the program is about to end; pages are told so.
    """

    pages: Pages
    queue: Queue
    keys: Keys
    limits: Limits
    methods: Methods
    cookie: str
    decoding: asyncio.Lock
    ending: Callable[[], bool]

    def page(self, request: Request) -> Page:
        """Return the page that a request comes from.

        Raises:
            HTTPException: there is none.
        """
        page = self.pages.find(request.cookies.get(self.cookie))
        if page is None:
            raise HTTPException(403, "This page has ended. Load it anew.")
        return page


def site_of(request: Request) -> Site:
    """Return what the address of a request shares with the others."""
    return request.app.state.site


def protecting(page: Page) -> bool:
    """Return whether a page's photos are being protected."""
    job = page.jobs.get("protect")
    return job is not None and not job.over


async def drop_choices(site: Site, page: Page, gently: tuple[str, ...] = ()) -> None:
    """Stop what is found out for whoever still chooses: the photos have changed, or the choice is
    made.

    Args:
        site: whose queue it is.
        page: whose choice.
        gently: kinds of jobs that take seconds, which are not worth ending a process for.
    """
    for kind in ("estimate", "preview"):
        job = page.jobs.get(kind)
        if job is not None and not (gently and job.over):
            del page.jobs[kind]
            await site.queue.stop(job, gently=kind in gently)


async def tidy(site: Site) -> None:
    """Close the pages that nobody looks at any more, as long as the program runs."""
    while True:
        await asyncio.sleep(min(1.0, site.limits.idle_seconds / 4))
        for page in site.pages.unwatched():
            await close(site, page)


async def close(site: Site, page: Page) -> None:
    """Stop a page's jobs and delete its files."""
    for job in list(page.jobs.values()):
        await site.queue.stop(job)
    await run_in_threadpool(site.pages.close, page)
