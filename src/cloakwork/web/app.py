"""The application: the page itself, what it is told, and all other addresses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp

from cloakwork.errors import UserError
from cloakwork.web import job_addresses, photo_addresses, saving
from cloakwork.web.asked import Methods, shown
from cloakwork.web.guard import Guard
from cloakwork.web.hosts import Keys
from cloakwork.web.jobs import Queue, beside
from cloakwork.web.limits import Limits
from cloakwork.web.pages import Page, Pages
from cloakwork.web.process import Process
from cloakwork.web.site import Site, close, site_of, tidy
from cloakwork.web.texts import STATIC, render

LOOK = 0.2  # seconds between two looks at whether a page changed
BREATH = 15.0  # seconds after which a silent connection says that it is alive


def create_app(
    root: Path,
    hosts: Iterable[str],
    keys: Keys,
    *,
    limits: Limits | None = None,
    methods: Methods | None = None,
    cookie: str = "cloakwork",
    ending: Callable[[], bool] = lambda: False,
) -> ASGIApp:
    """Return the application.

    Args:
        root: folder for the pages' files.
        hosts: what a browser may call this machine, with the port.
        keys: what lets a browser in.
        limits: how much is taken; None: the usual.
        methods: what is computed; None: the usual.
        cookie: the name of the cookie by which a page is known.
        ending: asked whether the program is about to end.
    """
    limits, methods = limits or Limits(), methods or Methods()
    site = Site(
        Pages(root, limits),
        Queue(limits.jobs, [Process()]),
        keys,
        limits,
        methods,
        cookie,
        asyncio.Lock(),
        ending,
    )

    app = Starlette(
        routes=ROUTES,
        exception_handlers=REFUSALS,
        lifespan=lambda app: beside(site.queue.run(), tidy(site)),
    )
    app.state.site = site
    return Guard(app, hosts)


def _faults(sentences: Iterable[str], status: int) -> JSONResponse:
    return JSONResponse({"faults": list(sentences)}, status)


async def index(request: Request) -> Response:
    """Show the page, to whoever has a key or was let in before."""
    site, key = site_of(request), f"{site_of(request).cookie}-key"
    language = request.headers.get("accept-language", "")
    if given := request.query_params.get("key"):
        if not site.keys.take(given):
            return Response(render("closed", language), 403, media_type="text/html")
        # without the key in the address, which stays in the browser's history
        answer = RedirectResponse("/", 303)
        answer.set_cookie(key, site.keys.lasting, httponly=True, samesite="strict")
        return answer
    page = site.pages.find(request.cookies.get(site.cookie))
    if page is None:
        if not site.keys.take(request.cookies.get(key, "")):
            return Response(render("closed", language), 403, media_type="text/html")
        page = site.pages.open()
    page.changed()
    answer = Response(
        render("index", language, folder=str(saving.usual_folder()), limits=site.limits),
        media_type="text/html",
    )
    answer.set_cookie(site.cookie, page.id, httponly=True, samesite="strict")
    return answer


async def static(request: Request) -> Response:
    """Give one of the page's own parts; no other file can be named."""
    found = STATIC.get(request.path_params["name"])
    if found is None:
        raise HTTPException(404, "There is no such file.")
    path, kind = found
    return Response(path.read_bytes(), media_type=kind)


async def events(request: Request) -> Response:
    """Tell a page what changes, as long as it is open."""
    site = site_of(request)
    page = site.page(request)

    async def stream() -> AsyncIterator[str]:
        page.watchers += 1
        told, silent = -1, 0.0
        try:
            while not page.closed and not site.ending():
                if told != page.changes:
                    told, silent = page.changes, 0.0
                    yield f"data: {json.dumps(_state(site, page))}\n\n"
                elif silent >= BREATH:
                    silent = 0.0
                    yield ": here\n\n"
                await asyncio.sleep(LOOK)
                silent += LOOK
            yield "event: ended\ndata: \n\n"
        finally:
            page.watchers -= 1
            page.changed()

    return StreamingResponse(stream(), media_type="text/event-stream")


def _state(site: Site, page: Page) -> dict[str, Any]:
    """Return what a page shows."""
    photos = [
        {"id": p.id, "name": p.name, "width": p.width, "height": p.height}
        for p in sorted(page.photos.values(), key=lambda photo: photo.name.casefold())
    ]
    jobs = {
        kind: shown(job, page) | {"ahead": site.queue.before(job)}
        for kind, job in page.jobs.items()
    }
    return {"photos": photos, "jobs": jobs}


async def forget(request: Request) -> Response:
    """Delete all that the page has given and got."""
    site = site_of(request)
    await close(site, site.page(request))
    return Response(status_code=204)


ROUTES = (
    Route("/", index),
    Route("/static/{name}", static),
    Route("/events", events),
    *photo_addresses.ROUTES,
    *job_addresses.ROUTES,
    Route("/forget", forget, methods=["POST"]),
)

REFUSALS = {
    UserError: lambda request, error: _faults(getattr(error, "sentences", ()), 400),
    HTTPException: lambda request, error: _faults(
        [getattr(error, "detail", "")], getattr(error, "status_code", 400)
    ),
    ClientDisconnect: lambda request, error: Response(status_code=400),
}
"""How each error is answered."""
