"""The page's addresses, and what is behind each of them."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp

from cloakwork.errors import UserError
from cloakwork.web import saving
from cloakwork.web.asked import Methods, folder_of, job_of, pictures, shown
from cloakwork.web.guard import Guard
from cloakwork.web.hosts import Keys
from cloakwork.web.jobs import Queue
from cloakwork.web.limits import Limits
from cloakwork.web.pages import Page, Pages
from cloakwork.web.texts import STATIC, render
from cloakwork.web.uploads import Upload, checked_name, free_name, receive, size_of

NAME = "x-name"  # header of an upload: the photo's name, percent-encoded
LOOK = 0.2  # seconds between two looks at whether a page changed
BREATH = 15.0  # seconds after which a silent connection says that it is alive


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
    """

    pages: Pages
    queue: Queue
    keys: Keys
    limits: Limits
    methods: Methods
    cookie: str
    decoding: asyncio.Lock

    def page(self, request: Request) -> Page:
        """Return the page that a request comes from.

        Raises:
            HTTPException: there is none.
        """
        page = self.pages.find(request.cookies.get(self.cookie))
        if page is None:
            raise HTTPException(403, "This page has ended. Load it anew.")
        return page


def create_app(
    root: Path,
    hosts: Iterable[str],
    keys: Keys,
    *,
    limits: Limits | None = None,
    methods: Methods | None = None,
    cookie: str = "cloakwork",
) -> ASGIApp:
    """Return the application.

    Args:
        root: folder for the pages' files.
        hosts: what a browser may call this machine, with the port.
        keys: what lets a browser in.
        limits: how much is taken; None: the usual.
        methods: what is computed; None: the usual.
        cookie: the name of the cookie by which a page is known.
    """
    limits, methods = limits or Limits(), methods or Methods()
    site = Site(Pages(root, limits), Queue(limits), keys, limits, methods, cookie, asyncio.Lock())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(site.queue.run()), asyncio.create_task(_tidy(site))]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    app = Starlette(
        routes=[
            Route("/", index),
            Route("/static/{name}", static),
            Route("/events", events),
            Route("/photos", upload, methods=["POST"]),
            Route("/photos/{id}", photo),
            Route("/photos/{id}", remove_photo, methods=["DELETE"]),
            Route("/jobs", start_job, methods=["POST"]),
            Route("/jobs/{id}", stop_job, methods=["DELETE"]),
            Route("/jobs/{id}/pictures/{number:int}/{which}", picture),
            Route("/jobs/{id}/zip", download),
            Route("/jobs/{id}/save", save, methods=["POST"]),
            Route("/forget", forget, methods=["POST"]),
        ],
        exception_handlers={
            UserError: lambda request, error: _faults(getattr(error, "sentences", ()), 400),
            HTTPException: lambda request, error: _faults(
                [getattr(error, "detail", "")], getattr(error, "status_code", 400)
            ),
            ClientDisconnect: lambda request, error: Response(status_code=400),
        },
        lifespan=lifespan,
    )
    app.state.site = site
    return Guard(app, hosts)


def _site(request: Request) -> Site:
    return request.app.state.site


def _faults(sentences: Iterable[str], status: int) -> JSONResponse:
    return JSONResponse({"faults": list(sentences)}, status)


async def _tidy(site: Site) -> None:
    """Close the pages that nobody looks at any more, as long as the program runs."""
    while True:
        await asyncio.sleep(min(1.0, site.limits.idle_seconds / 4))
        for page in site.pages.unwatched():
            await _close(site, page)


async def _close(site: Site, page: Page) -> None:
    """Stop a page's jobs and delete its files."""
    for job in page.jobs.values():
        await site.queue.stop(job)
    await run_in_threadpool(site.pages.close, page)


async def index(request: Request) -> Response:
    """Show the page, to whoever has a key or was let in before."""
    site, key = _site(request), f"{_site(request).cookie}-key"
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
    site = _site(request)
    page = site.page(request)

    async def stream() -> AsyncIterator[str]:
        page.watchers += 1
        told, silent = -1, 0.0
        try:
            while not page.closed:
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


async def upload(request: Request) -> Response:
    """Take a photo, whose bytes are the request's body."""
    site = _site(request)
    page, limits = site.page(request), site.limits
    if sum(p.receiving for p in site.pages) >= limits.at_once:
        return JSONResponse(
            {"faults": ["Too many photos at once; send it again in a moment."]},
            429,
            {"Retry-After": "1"},
        )
    if reason := limits.photos_refused(len(page.photos) + page.receiving):
        raise HTTPException(413, reason)
    if _busy(page):
        raise HTTPException(409, "Photos are being protected; stop that first.")
    name = free_name(
        checked_name(unquote(request.headers.get(NAME, ""), errors="replace")), page.names
    )
    path = page.inbox / name

    def refuse(size: int) -> str:
        return "The page has ended." if page.closed else limits.bytes_refused(size, page.bytes)

    page.receiving += 1
    page.names.add(name.as_posix())
    try:
        with suppress(ValueError):
            if reason := refuse(int(request.headers.get("content-length", "0"))):
                raise UserError(reason)
        size = await receive(request.stream(), path, refuse)
        async with site.decoding:
            width, height = await run_in_threadpool(size_of, path, page.inbox)
        if page.closed:
            raise UserError("The page has ended.")
    except BaseException:
        path.unlink(missing_ok=True)
        page.names.discard(name.as_posix())
        raise
    finally:
        page.receiving -= 1
    photo = Upload(secrets.token_urlsafe(12), name.as_posix(), path, size, width, height)
    page.photos[photo.id] = photo
    await _outdated(site, page)
    page.changed()
    return JSONResponse({"id": photo.id, "name": photo.name}, 201)


def _busy(page: Page) -> bool:
    """Return whether a page's photos are being protected."""
    job = page.jobs.get("protect")
    return job is not None and not job.over


async def _outdated(site: Site, page: Page, gently: tuple[str, ...] = ()) -> None:
    """Stop what is found out for whoever still chooses: the photos have changed, or the choice is
    made.

    Args:
        site: whose queue it is.
        page: whose choice.
        gently: kinds of jobs that take seconds, which are not worth ending a process for.
    """
    for kind in ("estimate", "preview"):
        if job := page.jobs.get(kind):
            if not (gently and job.over):
                await site.queue.stop(job, gently=kind in gently)
                del page.jobs[kind]


async def photo(request: Request) -> Response:
    """Give a photo back to its page."""
    found = _site(request).page(request).photos.get(request.path_params["id"])
    if found is None:
        raise HTTPException(404, "There is no such photo.")
    return FileResponse(found.path)


async def remove_photo(request: Request) -> Response:
    """Delete a photo."""
    site = _site(request)
    page = site.page(request)
    if _busy(page):
        raise HTTPException(409, "Photos are being protected; stop that first.")
    if (found := page.photos.pop(request.path_params["id"], None)) is None:
        raise HTTPException(404, "There is no such photo.")
    found.path.unlink(missing_ok=True)
    page.names.discard(found.name)
    await _outdated(site, page)
    page.changed()
    return Response(status_code=204)


async def start_job(request: Request) -> Response:
    """Begin to compute something; what was computed of that kind before is forgotten."""
    site = _site(request)
    page = site.page(request)
    if page.receiving:
        raise HTTPException(409, "Photos are still on their way; wait a moment.")
    job = job_of(await _question(request, site.limits), page, site.methods)
    if job.kind == "protect":
        await _outdated(site, page, gently=("preview",))
    before = page.jobs.get(job.kind)
    if before is not None:
        await site.queue.stop(before, gently=job.kind == "preview")
        if folder_of(before) != folder_of(job):
            shutil.rmtree(folder_of(before), ignore_errors=True)
    site.queue.add(job)
    page.jobs[job.kind] = job
    page.changed()
    return JSONResponse({"id": job.id}, 202)


async def _question(request: Request, limits: Limits) -> dict[str, Any]:
    """Return the JSON that a request holds.

    Raises:
        UserError: it holds none, or too much.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > limits.question_bytes:
            raise UserError("The question is too long.")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UserError("The question is no JSON object.")
    return found


async def stop_job(request: Request) -> Response:
    """Stop a job, and forget what it found."""
    site = _site(request)
    page = site.page(request)
    job = page.job(request.path_params["id"])
    if job is None:
        raise HTTPException(404, "There is no such job.")
    await site.queue.stop(job)
    # one that came after it stays
    page.jobs = {kind: other for kind, other in page.jobs.items() if other is not job}
    page.changed()
    return Response(status_code=204)


async def picture(request: Request) -> Response:
    """Give a picture that a job made or was given; it is named by number alone."""
    job = _site(request).page(request).job(request.path_params["id"])
    made = [] if job is None else pictures(job)
    number, which = request.path_params["number"], request.path_params["which"]
    if number >= len(made) or which not in ("before", "after"):
        raise HTTPException(404, "There is no such picture.")
    path = Path(made[number][which])
    if not path.is_file():
        raise HTTPException(404, "The picture was removed.")
    return FileResponse(path)


async def download(request: Request) -> Response:
    """Give all protected photos in one file."""
    page, answer = _protected(request)
    path = page.folder / "protected photos.zip"
    await run_in_threadpool(saving.write_zip, answer, path)
    return FileResponse(path, media_type="application/zip", filename=path.name)


async def save(request: Request) -> Response:
    """Copy all protected photos to a folder."""
    _, answer = _protected(request)
    question = await _question(request, _site(request).limits)
    folder = await run_in_threadpool(saving.save, answer, str(question.get("folder", "")))
    return JSONResponse({"folder": str(folder), "count": len(answer["photos"])})


def _protected(request: Request) -> tuple[Page, dict[str, Any]]:
    """Return the page of a request, and its protected photos.

    Raises:
        HTTPException: there are none.
    """
    page = _site(request).page(request)
    job = page.job(request.path_params["id"])
    if job is None or job.kind != "protect" or job.state != "done":
        raise HTTPException(404, "There are no protected photos.")
    return page, job.answer


async def forget(request: Request) -> Response:
    """Delete all that the page has given and got."""
    site = _site(request)
    await _close(site, site.page(request))
    return Response(status_code=204)
