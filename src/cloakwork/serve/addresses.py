"""The service's addresses."""

# no `from __future__ import annotations`: FastAPI reads those of the functions below, and they name
# what only `_add_photos` knows

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import (
    APIRouter,
    FastAPI,
    File,
    Form,
    HTTPException,
    Request,
    Response,
    Security,
    UploadFile,
)
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool

from cloakwork.errors import UserError
from cloakwork.photos.decoding import MIN_SIDE, header_size
from cloakwork.serve.answers import Faults, Health, JobShown, refusals
from cloakwork.serve.gate import OWNER
from cloakwork.serve.service import Service
from cloakwork.serve.spool import THE_PHOTO, Entry
from cloakwork.web.uploads import kind_of, receive

CHUNK = 2**18  # bytes
FULL_DISK = "The photo could not be written; the service's disk may be full. Send it again later."
GONE = "There is no such job; it may be delivered already, or too old."
Strength = Literal["faint", "normal", "strong", "uniform"]
IMAGES = {"image/png": {}, "image/jpeg": {}}


def _never_null(schema: dict[str, Any]) -> None:
    """Say of a field that it may be left out, but never null: forms have no such thing."""
    kind, _ = schema.pop("anyOf")
    schema.update(kind)


Photo = Annotated[UploadFile, File(description="JPEG, PNG, WebP, TIFF, BMP or AVIF")]
Followed = Annotated[
    Strength | None,
    Form(
        description="how the budget follows what the eye would notice; uniform: not",
        json_schema_extra=_never_null,
    ),
]
Budget = Annotated[
    float | None,
    Form(
        ge=1,
        le=64,
        description="largest change of a pixel, 1/255; else the method's",
        json_schema_extra=_never_null,
    ),
]
Width = Annotated[
    int | None,
    Form(
        ge=MIN_SIDE,
        le=20_000,
        description="pixels; wider photos are made this wide",
        json_schema_extra=_never_null,
    ),
]
Quality = Annotated[
    int | None,
    Form(
        ge=1,
        le=100,
        description="of a JPEG (4:2:0); without it comes a PNG",
        json_schema_extra=_never_null,
    ),
]
NoPlace = Annotated[bool, Form(description="leave out where it was taken")]
NoMetadata = Annotated[bool, Form(description="leave out EXIF, XMP and texts")]


def add_addresses(app: FastAPI, service: Service, *, tokens: bool) -> None:
    """Give an application its addresses.

    Args:
        app: the application.
        service: what they share.
        tokens: whether the schema is to say that a token is needed; the gate asks for it.
    """

    @app.get("/healthz", responses={403: {"model": Faults}}, tags=["service"])
    async def health() -> Health:
        """Say that the service is there."""
        return Health(waiting=service.queue.waiting, running=service.queue.running)

    asked = APIRouter(dependencies=[Security(HTTPBearer(auto_error=False))] if tokens else [])
    _add_photos(asked, service)
    _add_jobs(asked, service)
    _add_metrics(asked, service)
    app.include_router(asked)


def _add_photos(asked: APIRouter, service: Service) -> None:
    """Add the address that photos are sent to."""
    names = list(service.protections)
    offered = Form(description="the protection", json_schema_extra={"enum": names})

    @asked.post(
        "/v1/protect",
        status_code=202,
        responses=refusals(400, 408, 413, 422, 429, 507),
        tags=["photos"],
    )
    async def protect(
        request: Request,
        response: Response,
        photo: Photo,
        method: Annotated[str, offered] = names[0],
        strength: Followed = None,
        budget: Budget = None,
        width: Width = None,
        quality: Quality = None,
        strip_gps: NoPlace = True,
        strip_metadata: NoMetadata = False,
    ) -> JobShown:
        """Take a photo, and put it into the queue."""
        if method not in names:
            raise HTTPException(422, f"The method is {method!r}; allowed are {', '.join(names)}.")
        given = {"strength": strength, "budget": budget}
        question = {
            "protection": service.protections[method],
            "settings": {name: value for name, value in given.items() if value is not None},
            "width": width,
            "jpeg": quality,
            "strip_gps": strip_gps,
            "strip_metadata": strip_metadata,
        }
        entry = await _taken(service, photo, request.scope[OWNER], question)
        response.headers["Location"] = f"/v1/jobs/{entry.job.id}"
        return service.shown(entry)


async def _taken(
    service: Service, photo: UploadFile, owner: str, question: dict[str, Any]
) -> Entry:
    """Write a photo to the spool and begin its job; nothing is kept of one that is refused.

    Raises:
        HTTPException: it is too large or no photo, too much is waiting, or the disk is full.
    """
    try:
        entry = service.spool.open("protect", owner, question)
    except OSError:
        raise HTTPException(507, FULL_DISK) from None
    try:
        await receive(_chunks(photo), entry.photo, lambda size: _refused(size, service))
        size = await run_in_threadpool(header_size, entry.photo)
        service.limits.check_pixels(*size)
        service.begin(entry)
    except BaseException as error:
        service.spool.remove(entry)
        if isinstance(error, UserError):
            raise HTTPException(400, _sentences(error, entry)) from None
        if isinstance(error, OSError):
            raise HTTPException(507, FULL_DISK) from None
        raise
    return entry


def _add_jobs(asked: APIRouter, service: Service) -> None:
    """Add the addresses of jobs and of what came of them."""

    @asked.get("/v1/jobs/{id}", responses=refusals(404), tags=["jobs"])
    async def job(request: Request, id: str) -> JobShown:
        """Say how a job stands."""
        return service.shown(_found(service, request, id))

    @asked.delete("/v1/jobs/{id}", status_code=204, responses=refusals(404), tags=["jobs"])
    async def forget(request: Request, id: str) -> None:
        """Stop a job, and delete all that there is of it."""
        await service.drop(_found(service, request, id))

    @asked.get(
        "/v1/jobs/{id}/result",
        response_class=Response,
        responses={**refusals(404, 409), 200: {"content": IMAGES}},
        tags=["jobs"],
    )
    async def result(request: Request, id: str) -> Response:
        """Give the protected photo; nothing of the job is kept then."""
        entry = _found(service, request, id)
        if entry.job.state != "done":
            raise HTTPException(409, f"The job is {entry.job.state}; there is no photo.")
        return StreamingResponse(
            _delivered(service, entry),
            media_type=kind_of(entry.result),
            headers={
                "Content-Length": str(entry.result.stat().st_size),
                "Content-Disposition": f'attachment; filename="{entry.result.name}"',
            },
        )


def _add_metrics(asked: APIRouter, service: Service) -> None:
    """Add the address of the numbers that are counted."""

    @asked.get(
        "/metrics",
        response_class=Response,
        responses={**refusals(), 200: {"content": {CONTENT_TYPE_LATEST: {}}}},
        tags=["service"],
    )
    async def metrics() -> Response:
        """Tell numbers to Prometheus."""
        told = generate_latest(service.metrics.registry)
        return Response(told, media_type=CONTENT_TYPE_LATEST)


def _found(service: Service, request: Request, id: str) -> Entry:
    """Return a job of who asks.

    Raises:
        HTTPException: there is none.
    """
    entry = service.spool.find(id, request.scope[OWNER])
    if entry is None:
        raise HTTPException(404, GONE)
    return entry


def _refused(size: int, service: Service) -> str:
    """Return why so many bytes are too much; "" where they are not."""
    return service.limits.too_many_bytes if size > service.limits.photo_bytes else ""


def _sentences(error: UserError, entry: Entry) -> str:
    """Return what was wrong with a photo, without the path that it had here."""
    return " ".join(s.replace(str(entry.photo), THE_PHOTO) for s in error.sentences)


async def _chunks(photo: UploadFile) -> AsyncIterator[bytes]:
    while chunk := await photo.read(CHUNK):
        yield chunk


async def _delivered(service: Service, entry: Entry) -> AsyncIterator[bytes]:
    """Yield a result, and forget its job when all of it is out.

    Who goes away before that does not get here, and may ask again.
    """
    with open(entry.result, "rb") as file:
        while chunk := await run_in_threadpool(file.read, CHUNK):
            yield chunk
    service.spool.remove(entry)
