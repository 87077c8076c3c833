"""The application: the addresses, behind their gate."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from cloakwork import __version__
from cloakwork.serve.addresses import add_addresses
from cloakwork.serve.gate import Gate
from cloakwork.serve.limits import Limits
from cloakwork.serve.service import Service
from cloakwork.serve.spool import Spool
from cloakwork.serve.tokens import Tokens
from cloakwork.web.jobs import Worker, beside
from cloakwork.workflows.defaults import SERVED


def create_app(
    spool: Spool,
    workers: Sequence[Worker],
    *,
    tokens: Tokens | None = None,
    hosts: Collection[str] = (),
    limits: Limits | None = None,
    protections: Mapping[str, str] | None = None,
) -> Gate:
    """Return the application.

    Args:
        spool: the jobs that are not delivered yet.
        workers: who computes.
        tokens: who is let in; None: everybody.
        hosts: what a browser may call this machine, where there are no tokens; empty: anything.
        limits: how much is taken; None: the usual.
        protections: name -> protection with its settings, the first one the usual; None: SERVED.
    """
    limits, tokens = limits or Limits(), tokens or Tokens()
    service = Service(spool, workers, limits, protections or SERVED)

    app = FastAPI(
        title="cloakwork",
        version=__version__,
        summary="Protects photos from being learned or edited by diffusion models.",
        lifespan=lambda app: beside(service.queue.run(), service.tidy()),
        # these pages would load scripts from elsewhere
        docs_url=None,
        redoc_url=None,
    )
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    add_addresses(app, service, tokens=bool(tokens))
    return Gate(app, tokens, hosts, limits, service.room, service.metrics)


def _faults(
    sentences: Iterable[str], status: int, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse({"faults": list(sentences)}, status, dict(headers or {}))


def _refused(request: Request, error: Exception) -> JSONResponse:
    """Answer what an address refuses, or what is no address."""
    assert isinstance(error, HTTPException)
    headers = error.headers
    if error.status_code == 405:  # of all methods, where each is a route of its own
        matches = [r for r in request.app.routes if r.matches(request.scope)[0] != Match.NONE]
        methods = {method for route in matches for method in getattr(route, "methods", ())}
        headers = {"Allow": ", ".join(sorted(methods))}
    return _faults([error.detail], error.status_code, headers)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    """Answer a request whose fields are not as the schema has them."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    return _faults(
        [f"{'.'.join(map(str, fault['loc'][1:])) or 'body'}: {fault['msg']}." for fault in found],
        422,
    )
