"""What stands before a page's or a service's addresses: HTTP alone comes in, and every answer has
the same headers.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Door:
    """Stands before an application; `answer` says what becomes of a request.

    Args:
        app: the application.
        headers: of every answer.
    """

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self.app, self.headers = app, headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(self.headers)
            await send(message)

        await self.answer(scope, receive, with_headers)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request over HTTP, or let the application do it."""
        await self.app(scope, receive, send)
