"""Addresses under /photos: photos come, are shown, and go."""

from __future__ import annotations

import secrets
from contextlib import suppress
from urllib.parse import unquote

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from cloakwork.errors import UserError
from cloakwork.web.pages import Page
from cloakwork.web.site import Site, drop_choices, protecting, site_of
from cloakwork.web.uploads import Upload, checked_name, free_name, kind_of, receive, size_of

NAME = "x-name"  # header of an upload: the photo's name, percent-encoded
ENDED = "The page has ended."


async def upload(request: Request) -> Response:
    """Take a photo, whose bytes are the request's body."""
    site = site_of(request)
    page, limits = site.page(request), site.limits
    if sum(p.receiving for p in site.pages) >= limits.at_once:
        return JSONResponse(
            {"faults": ["Too many photos at once; send it again in a moment."]},
            429,
            {"Retry-After": "1"},
        )
    if reason := limits.photos_refused(len(page.photos) + page.receiving):
        raise HTTPException(413, reason)
    if protecting(page):
        raise HTTPException(409, "Photos are being protected; stop that first.")
    given = unquote(request.headers.get(NAME, ""), errors="replace")
    name = free_name(checked_name(given), page.names).as_posix()
    page.receiving += 1
    page.names.add(name)
    try:
        photo = await _received(request, site, page, name)
    except BaseException:
        page.names.discard(name)
        raise
    finally:
        page.receiving -= 1
    page.photos[photo.id] = photo
    await drop_choices(site, page)
    page.changed()
    return JSONResponse({"id": photo.id, "name": photo.name}, 201)


async def _received(request: Request, site: Site, page: Page, name: str) -> Upload:
    """Write a photo to the page's folder, and look whether it is one; else it is removed again.

    Raises:
        UserError: it is none, or too much.
    """
    path = page.inbox / name

    def refuse(size: int) -> str:
        return ENDED if page.closed else site.limits.bytes_refused(size, page.bytes)

    with suppress(ValueError):
        if reason := refuse(int(request.headers.get("content-length", "0"))):
            raise UserError(reason)
    try:
        size = await receive(request.stream(), path, refuse)
        async with site.decoding:
            width, height = await run_in_threadpool(size_of, path, page.inbox)
        if page.closed:
            raise UserError(ENDED)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Upload(secrets.token_urlsafe(12), name, path, size, width, height)


async def photo(request: Request) -> Response:
    """Give a photo back to its page."""
    found = site_of(request).page(request).photos.get(request.path_params["id"])
    if found is None:
        raise HTTPException(404, "There is no such photo.")
    return FileResponse(found.path, media_type=kind_of(found.path))


async def remove_photo(request: Request) -> Response:
    """Delete a photo."""
    site = site_of(request)
    page = site.page(request)
    if protecting(page):
        raise HTTPException(409, "Photos are being protected; stop that first.")
    if (found := page.photos.pop(request.path_params["id"], None)) is None:
        raise HTTPException(404, "There is no such photo.")
    found.path.unlink(missing_ok=True)
    page.names.discard(found.name)
    await drop_choices(site, page)
    page.changed()
    return Response(status_code=204)


ROUTES = [
    Route("/photos", upload, methods=["POST"]),
    Route("/photos/{id}", photo),
    Route("/photos/{id}", remove_photo, methods=["DELETE"]),
]
