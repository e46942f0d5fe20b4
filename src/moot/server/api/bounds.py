"""The outermost part of the application: it bounds bodies, and counts and logs requests."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moot.server.api.failures import answer
from moot.server.api.state import ServerState
from moot.server.errors import RequestTimeout, TooLarge
from pyro_mcp.errors import PyroError

_log = logging.getLogger("moot.server.requests")


class _Refused(Exception):
    """The error for a body that became too large while it was read, or that did not come in time."""


class Bounds:
    """The wrapper of an application that refuses bodies that are too large, before they are read whole, or too slow."""

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0
        limits = self._state.limits
        too_large = TooLarge(f"A request has at most {limits.body_bytes} bytes")
        refusal: PyroError | None = None
        got = 0
        is_whole = False

        async def receive_bounded() -> Message:
            nonlocal got, is_whole, refusal
            if is_whole:
                return await receive()
            try:
                async with asyncio.timeout(max(0.0, started + limits.body_seconds - time.perf_counter())):
                    message = await receive()
            except TimeoutError:
                refusal = RequestTimeout(f"The body of a request must come within {limits.body_seconds:g} s")
                raise _Refused from None
            is_whole = not message.get("more_body", False)
            got += len(message.get("body", b""))
            if got > limits.body_bytes:
                refusal = too_large
                raise _Refused
            return message

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        async def send_unless_refused(message: Message) -> None:
            # The application takes a body that has been cut off for a malformed one, and answers that.
            if refusal is None:
                await send_counted(message)

        try:
            if _announced(scope) > limits.body_bytes:
                await answer(too_large)(scope, receive, send_counted)
            else:
                with suppress(_Refused):
                    await self._app(scope, receive_bounded, send_unless_refused)
                if refusal is not None:
                    await answer(refusal)(scope, receive, send_counted)
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
