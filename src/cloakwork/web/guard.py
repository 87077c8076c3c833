"""Stands before the page's addresses: refuses strangers, and tells browsers what they may do."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cloakwork.web.door import Door
from cloakwork.web.hosts import refused

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
"""Of every answer."""


class Guard(Door):
    """Stands before an application: refuses strangers, and adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        super().__init__(app, HEADERS)
        self.hosts = frozenset(hosts)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a stranger, or let the application answer."""
        reason = refused(scope["method"], Headers(scope=scope), self.hosts)
        if reason:
            await JSONResponse({"faults": [reason]}, 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)
