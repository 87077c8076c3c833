"""Addresses under /jobs: what is computed begins, is stopped, is shown and goes out."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from cloakwork.errors import UserError
from cloakwork.web import saving
from cloakwork.web.asked import WHICH, folder_of, job_of, pictures
from cloakwork.web.limits import Limits
from cloakwork.web.pages import Page
from cloakwork.web.site import drop_choices, site_of
from cloakwork.web.uploads import kind_of


async def start_job(request: Request) -> Response:
    """Begin to compute something; what was computed of that kind before is forgotten."""
    site = site_of(request)
    page = site.page(request)
    if page.receiving:
        raise HTTPException(409, "Photos are still on their way; wait a moment.")
    job = job_of(await _question(request, site.limits), page, site.methods)
    if job.kind == "protect":
        await drop_choices(site, page, gently=("preview",))
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
    site = site_of(request)
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
    job = site_of(request).page(request).job(request.path_params["id"])
    made = [] if job is None else pictures(job)
    number, which = request.path_params["number"], request.path_params["which"]
    if number >= len(made) or which not in WHICH or which not in made[number]:
        raise HTTPException(404, "There is no such picture.")
    path = Path(made[number][which])
    if not path.is_file():
        raise HTTPException(404, "The picture was removed.")
    return FileResponse(path, media_type=kind_of(path))


async def download(request: Request) -> Response:
    """Give all protected photos in one file."""
    page, answer = _protected(request)
    path = page.folder / "protected photos.zip"
    await run_in_threadpool(saving.write_zip, answer, path)
    return FileResponse(path, media_type="application/zip", filename=path.name)


async def save(request: Request) -> Response:
    """Copy all protected photos to a folder."""
    _, answer = _protected(request)
    question = await _question(request, site_of(request).limits)
    folder = await run_in_threadpool(saving.save, answer, str(question.get("folder", "")))
    return JSONResponse({"folder": str(folder), "count": len(answer["photos"])})


def _protected(request: Request) -> tuple[Page, dict[str, Any]]:
    """Return the page of a request, and its protected photos.

    Raises:
        HTTPException: there are none.
    """
    page = site_of(request).page(request)
    job = page.job(request.path_params["id"])
    if job is None or job.kind != "protect" or job.state != "done":
        raise HTTPException(404, "There are no protected photos.")
    return page, job.answer


ROUTES = [
    Route("/jobs", start_job, methods=["POST"]),
    Route("/jobs/{id}", stop_job, methods=["DELETE"]),
    Route("/jobs/{id}/pictures/{number:int}/{which}", picture),
    Route("/jobs/{id}/zip", download),
    Route("/jobs/{id}/save", save, methods=["POST"]),
]
