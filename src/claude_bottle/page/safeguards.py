"""The checks before the page looks at an HTTP request: its host, its origin, its size, and its rate."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from claude_bottle.page.markup import STYLE_HASH

LARGEST_BODY = 4096
_MOST_TOGETHER, _EACH_SECOND = 60.0, 2.0
_MOST_CLIENTS = 1024
_HOLDERS = "holders of a key or a token"  # no client has this address
_FORM_TYPE = "application/x-www-form-urlencoded"

# `same-origin`, not `no-referrer`: with the latter a browser sends "Origin: null" with a form of the page itself.
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Safeguards:
    """The wrapper of `app` that passes on requests to one of `origins`, with a small body and at a limited rate.

    `knows` returns whether a path holds the page's key or a valid token. Such requests have a rate of their own: all
    programs of this host, and all clients of a proxy, have one address, so a stranger could use up its rate.
    """

    def __init__(
        self,
        app: ASGIApp,
        origins: Iterable[str],
        knows: Callable[[str], bool],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._knows = app, knows
        self._origins = frozenset(origins)
        self._hosts = frozenset(urlsplit(origin).netloc for origin in self._origins)
        self._rates = Rates(now)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        sender = _with_headers(send)
        problem = self._problem(scope) if await self._has_rate(scope) else (429, "too many requests; wait a minute")
        if problem is None:
            body = await _body(receive)
            if body is not None:
                await self._app(scope, _replayed(body), sender)
                return
            problem = (413, "the request is too large")
        await PlainTextResponse(f"{problem[1]}\n", problem[0], {"Connection": "close"})(scope, receive, sender)

    async def _has_rate(self, scope: Scope) -> bool:
        """Return whether one more request may come from a client, or from someone with a key or a token."""
        client = (scope.get("client") or ("", 0))[0]
        if self._rates.allow(client):
            return True
        return await run_in_threadpool(self._knows, scope["path"]) and self._rates.allow(_HOLDERS)

    def _problem(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and the reason of a refusal; None for a request that may go on."""
        headers, method = Headers(scope=scope), scope["method"]
        checks = (
            (_one(headers, "host") not in self._hosts, 421, "this is not the address of this page; see --url"),
            (method not in ("GET", "HEAD", "POST"), 405, "only GET and POST"),
            (_declared_length(headers) > LARGEST_BODY, 413, "the request is too large"),
            (method == "POST" and not self._is_own_form(headers), 403, "a decision is made on this page only"),
        )
        return next(((status, reason) for refused, status, reason in checks if refused), None)

    def _is_own_form(self, headers: Headers) -> bool:
        """Return whether the request is a form of this page: browsers name the origin of each POST."""
        type_of_body = _one(headers, "content-type").partition(";")[0].strip().lower()
        site = headers.get("sec-fetch-site", "same-origin")
        return _one(headers, "origin") in self._origins and site == "same-origin" and type_of_body == _FORM_TYPE


class Rates:
    """A bucket of requests for each client address; the addresses that were used longest ago are forgotten."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allow(self, client: str) -> bool:
        """Take one request out of the client's bucket; return False if it is empty."""
        now = self._now()
        left, at = self._left.pop(client, (_MOST_TOGETHER, now))
        left = min(_MOST_TOGETHER, left + (now - at) * _EACH_SECOND)
        self._left[client] = (max(0.0, left - 1.0), now)
        if len(self._left) > _MOST_CLIENTS:
            self._left.popitem(last=False)
        return left >= 1.0


def _one(headers: Headers, name: str) -> str:
    """Return the value of a header that is there exactly once; else ""."""
    values = headers.getlist(name)
    return values[0] if len(values) == 1 else ""


def _declared_length(headers: Headers) -> int:
    length = headers.get("content-length", "0")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 10 else LARGEST_BODY + 1


async def _body(receive: Receive) -> bytes | None:
    """Return the body of a request; None if it is too large, or the client went away."""
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += bytes(message.get("body", b""))
        if len(body) > LARGEST_BODY:
            return None
        if not message.get("more_body", False):
            return body


def _replayed(body: bytes) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else {"type": "http.disconnect"}

    return receive


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return sender
