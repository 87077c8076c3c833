"""Stands before the service's addresses: refuses who may not ask, and what is too much, before any
of it is read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloakwork.serve.limits import Limits
from cloakwork.serve.metrics import Metrics
from cloakwork.serve.room import FULL, Room
from cloakwork.serve.tokens import Tokens
from cloakwork.web.door import Door
from cloakwork.web.hosts import refused

OPEN = ("/healthz",)  # to everybody who reaches the service
UPLOADS = ("/v1/protect",)
OWNER = "cloakwork.owner"  # in a request's scope: whose token it has
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Of every answer."""


@dataclass(frozen=True)
class Refusal:
    """An answer to what is not let in."""

    status: int
    fault: str
    reason: str
    """in a word, for the metrics"""
    headers: Mapping[str, str] | None = None


class Gate(Door):
    """Stands before an application.

    Args:
        app: the application.
        tokens: who is let in.
        hosts: what a browser may call this machine, where there are no tokens: pages from elsewhere
            could ask otherwise. Empty: anything.
        limits: how much is taken.
        room: how many jobs still fit.
        metrics: count what is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: Tokens,
        hosts: Collection[str],
        limits: Limits,
        room: Room,
        metrics: Metrics,
    ) -> None:
        super().__init__(app, HEADERS)
        self.tokens, self.hosts = tokens, frozenset(hosts)
        self.limits, self.room, self.metrics = limits, room, metrics

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or let the application answer."""
        headers = Headers(scope=scope)
        owner = self.tokens.owner(headers.get("authorization", ""))
        upload = scope["method"] == "POST" and scope["path"] in UPLOADS
        if refusal := self._refusal(scope, headers, owner, upload):
            return await self._refuse(refusal, scope, receive, send)
        scope[OWNER] = owner
        if not upload:
            return await self.app(scope, receive, send)
        with self.room.taken():
            await self._receive(scope, receive, send)

    def _refusal(
        self, scope: Scope, headers: Headers, owner: str | None, upload: bool
    ) -> Refusal | None:
        """Return why a request is refused by its head alone."""
        if not self.tokens and self.hosts:
            fault = refused(scope["method"], headers, self.hosts, programs=True)
            if fault:
                return Refusal(403, fault, "host")
        if owner is None and scope["path"] not in OPEN:
            fault = "Who asks needs a token, as in the header `Authorization: Bearer TOKEN`."
            return Refusal(401, fault, "token", {"WWW-Authenticate": "Bearer"})
        if not upload:
            return None
        if self.room.full:
            retry = {"Retry-After": str(self.room.retry_after)}
            return Refusal(429, FULL, "full", retry)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.limits.body_bytes:
            return Refusal(413, self.limits.too_many_bytes, "bytes")
        return None

    async def _receive(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer an upload, unless too much of it comes, or too slowly."""
        size, begun, answered = 0, time.monotonic(), False
        refusal: Refusal | None = None

        async def bounded() -> Message:
            nonlocal size, refusal
            left = self.limits.upload_seconds - (time.monotonic() - begun)
            try:
                message = await asyncio.wait_for(receive(), None if answered else max(left, 0.001))
            except TimeoutError:
                seconds = self.limits.upload_seconds
                fault = f"The photo did not arrive within {seconds:g} seconds; send it again."
                refusal = Refusal(408, fault, "slow", {"Connection": "close"})
                return {"type": "http.disconnect"}
            size += len(message.get("body", b""))
            if size > self.limits.body_bytes:
                close = {"Connection": "close"}
                refusal = Refusal(413, self.limits.too_many_bytes, "bytes", close)
                return {"type": "http.disconnect"}
            return message

        async def unless_refused(message: Message) -> None:
            nonlocal answered
            if refusal is None:
                answered = True
                await send(message)

        await self.app(scope, bounded, unless_refused)
        if refusal is not None and not answered:
            await self._refuse(refusal, scope, receive, send)

    async def _refuse(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        self.metrics.refused.labels(refusal.reason).inc()
        answer = JSONResponse(
            {"faults": [refusal.fault]}, refusal.status, dict(refusal.headers or {})
        )
        await answer(scope, receive, send)
