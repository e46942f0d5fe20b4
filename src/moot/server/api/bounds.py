"""The outermost part of the application: it bounds bodies, and counts and logs requests."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moot.server.api.failures import answer
from moot.server.api.state import ServerState
from moot.server.errors import TooLarge

_log = logging.getLogger("moot.server.requests")


class _Oversized(Exception):
    """A body has become larger than allowed while it came in."""


class Bounds:
    """Refuses bodies that are too large, before they are read whole."""

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0
        over = False
        most = self._state.limits.body_bytes
        got = 0

        async def receive_bounded() -> Message:
            nonlocal got, over
            message = await receive()
            got += len(message.get("body", b""))
            if got > most:
                over = True
                raise _Oversized
            return message

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def send_unless_over(message: Message) -> None:
            # The application takes an oversized body for a malformed one, and answers that.
            if not over:
                await send_counted(message)

        too_large = answer(TooLarge(f"A request has at most {most} bytes"))
        try:
            if _announced(scope) > most:
                await too_large(scope, receive, send_counted)
            else:
                with suppress(_Oversized):
                    await self._app(scope, receive_bounded, send_unless_over)
                if over:
                    await too_large(scope, receive, send_counted)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unknown")
            self._state.metrics.request(scope["method"], route, status, seconds)
            _log.info(
                "request", extra={"method": scope["method"], "route": route, "status": status, "seconds": seconds}
            )


def _announced(scope: Scope) -> int:
    """Return the length of the body that the client announces; 0 when it does not."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
