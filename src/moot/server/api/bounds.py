"""The outermost part of the application: it bounds bodies, and counts and logs requests."""

from __future__ import annotations

import asyncio
import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moot.server.api.failures import answer
from moot.server.api.state import ServerState
from moot.server.errors import RequestTimeout, TooLarge, Unavailable
from moot.server.settings import Limits
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
        exchange = _Exchange(self._state.limits, receive, send, started)
        try:
            if _announced(scope) > self._state.limits.body_bytes:
                exchange.refusal = _too_large(self._state.limits)
            else:
                await exchange.run(self._app, scope)
            if exchange.refusal is not None:
                await answer(exchange.refusal)(scope, receive, exchange.send_counted)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", "unknown")
            self._state.metrics.request(scope["method"], route, exchange.status, seconds)
            more = {"method": scope["method"], "route": route, "status": exchange.status, "seconds": seconds}
            _log.info("request", extra=more)


class _Exchange:
    """One request and its answer: it bounds the body, and keeps the status of the answer, or why it is refused."""

    def __init__(self, limits: Limits, receive: Receive, send: Send, started: float) -> None:
        self._limits = limits
        self._receive = receive
        self._send = send
        self._end = started + limits.body_seconds
        self._got = 0
        self._is_whole = False
        self.status = 0
        self.refusal: PyroError | None = None

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Let an application answer, unless `refusal` says why not."""
        try:
            await app(scope, self._receive_bounded, self._send_unless_refused)
        except _Refused:
            pass
        except asyncio.CancelledError:
            # The server is stopping, and this is the task of a request that did not end in time.
            if self.status:
                raise
            self.refusal = Unavailable("the server is stopping", hint="try again in a few seconds")

    async def send_counted(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        await self._send(message)

    async def _send_unless_refused(self, message: Message) -> None:
        # The application takes a body that has been cut off for a malformed one, and answers that.
        if self.refusal is None:
            await self.send_counted(message)

    async def _receive_bounded(self) -> Message:
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(max(0.0, self._end - time.perf_counter())):
                message = await self._receive()
        except TimeoutError:
            seconds = self._limits.body_seconds
            self.refusal = RequestTimeout(f"The body of a request must come within {seconds:g} s")
            raise _Refused from None
        self._is_whole = not message.get("more_body", False)
        self._got += len(message.get("body", b""))
        if self._got > self._limits.body_bytes:
            self.refusal = _too_large(self._limits)
            raise _Refused
        return message


def _too_large(limits: Limits) -> TooLarge:
    return TooLarge(f"A request has at most {limits.body_bytes} bytes")


def _announced(scope: Scope) -> int:
    """Return the length of the body that the client announces; 0 when it does not."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0
