"""Requests to a host with rules: each is checked by method and path, whatever else it says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from pyro_mcp.network import Rules
from pyro_mcp.network.http.tls_proxy import TLSProxy
from tests.network.tls_site import FOREIGN, HOST, OTHER, SECRET, VALUE, Web

RULES = Rules(({"host": HOST, "methods": ["GET", "POST"], "paths": ["/v1/*", "/health"]},))
ALLOWED = f"GET /v1/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()


@pytest.fixture
def web(tmp_path: Path) -> Web:
    web = Web(tmp_path)
    web.tls_proxy = TLSProxy([SECRET, FOREIGN], web.authority.identities, str(tmp_path / "roots.pem"), RULES)
    return web


@contextmanager
def reports(web: Web) -> Iterator[list[tuple[object, ...]]]:
    """Collect what is reported for the log."""
    found: list[tuple[object, ...]] = []

    def report(*what: object) -> str:
        found.append(what)
        return ""

    serve = partial(web.tls_proxy.serve, report=report)
    web.tls_proxy.serve = serve  # type: ignore[method-assign]
    yield found


def request(target: str, method: str = "GET", *fields: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"Host: {HOST}", *fields, "", ""]).encode()


@pytest.mark.parametrize("target", ["/v1/x", "/v1/a/b?x=/v2/../..", "/health", "/v1/%61"])
def test_an_allowed_request_reaches_the_host_as_it_is(web: Web, target: str) -> None:
    assert web.raw(request(target, "GET", "Connection: close")).startswith(b"HTTP/1.1 200 ")
    assert [asked["path"] for asked, _ in web.asked] == [target]


REFUSED = {
    "another method": request("/v1/x", "DELETE"),
    "a method in small letters": request("/v1/x", "get"),
    "HEAD": request("/v1/x", "HEAD"),
    "another path": request("/v2/x"),
    "a path that begins alike": request("/healthy"),
    "dots": request("/v1/../admin"),
    "encoded dots": request("/v1/%2e%2e/admin"),
    "an encoded slash": request("/v1/..%2fadmin"),
    "a backslash": request("/v1/..\\admin"),
    "a part with a parameter": request("/v1/..;/admin"),
    "the server as a whole": request("*", "OPTIONS"),
    "a method in the header": request("/v1/x", "POST", "X-HTTP-Method-Override: DELETE", "Content-Length: 0"),
    "a method in the header, as CGI reads it": request("/v1/x", "GET", "X_HTTP_Method-Override: DELETE"),
    "a path in the header": request("/v1/x", "GET", "X-Original-URL: /admin"),
    "another path in the header": request("/v1/x", "GET", "x-rewrite-url: /admin"),
}


@pytest.mark.parametrize("given", REFUSED.values(), ids=REFUSED)
def test_another_request_is_refused_and_reaches_nobody(web: Web, given: bytes) -> None:
    with reports(web) as reported:
        answered = web.raw(given)
    assert answered.startswith(b"HTTP/1.1 403 ") and web.asked == [] and web.dialled == 0
    assert (b"The user can allow it" in answered) is not given.startswith(b"HEAD")
    assert [report[0] for report in reported] == ["refused"]


SMUGGLED = {
    "after a request": b"",
    "after a length": b"POST /v1/x HTTP/1.1\r\nHost: %b\r\nContent-Length: 5\r\n\r\nhello" % HOST.encode(),
    "after chunks": b"POST /v1/x HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n"
    % HOST.encode(),
}


@pytest.mark.parametrize("first", SMUGGLED.values(), ids=SMUGGLED)
@pytest.mark.parametrize("second", [request("/admin"), request("/v1/x", "DELETE")])
def test_every_request_of_a_connection_is_looked_at(web: Web, first: bytes, second: bytes) -> None:
    answered = web.raw((first or ALLOWED) + second)
    assert answered.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 403 " in answered
    assert len(web.asked) == 1


@pytest.mark.parametrize(
    "fields",
    [
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding : chunked",),
        ("Transfer-Encoding: chunked\x0b",),
        ("Content-Length: 4", "Content-Length: 5"),
        ("Content-Length: +4",),
        ("Content-Length: 4,4, 5",),
        (f"Host: {OTHER}",),
    ],
)
def test_a_request_whose_end_or_host_is_unclear_reaches_nobody(web: Web, fields: tuple[str, ...]) -> None:
    smuggled = b"0\r\n\r\nGET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
    answered = web.raw(request("/v1/x", "POST", *fields) + smuggled)
    assert answered[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 501", b"HTTP/1.1 421") and web.asked == []


def test_a_chunk_whose_size_is_unclear_ends_the_request(web: Web) -> None:
    for chunk in (
        b"5\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5 \x0b\r\nhello\r\n",
        b"-1\r\n",
        b"fffffffffffffffffffff\r\n",
    ):
        web.raw(request("/v1/x", "POST", "Transfer-Encoding: chunked") + chunk + b"0\r\n\r\n" + request("/admin"))
    assert [asked["path"] for asked, _ in web.asked if asked["path"] != "/v1/x"] == []


def test_a_websocket_needs_a_rule_too(web: Web) -> None:
    fields = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: x")
    assert web.raw(request("/admin", "GET", *fields)).startswith(b"HTTP/1.1 403 ")
    assert web.dialled == 0


def test_the_log_gets_the_path_without_its_query_and_never_the_secret(web: Web) -> None:
    with reports(web) as reported:
        web.raw(request(f"/v1/x?key={SECRET.placeholder}", "GET", f"Authorization: Bearer {SECRET.placeholder}")
                + request("/v1/\x1b[31m?y"))  # fmt: skip
        web.raw(request("/v2?" + "x" * 5000))
    assert reported[0] == ("allowed", ("GET", "/v1/x"), "", ["API"])
    assert reported[-1][:2] == ("refused", ("GET", "/v2"))
    assert VALUE not in str(reported) and "key=" not in str(reported) and "xxx" not in str(reported)


def test_a_host_without_secrets_of_its_own_sees_and_sends_what_the_other_side_sent(tmp_path: Path) -> None:
    web = Web(tmp_path)
    web.tls_proxy = TLSProxy([FOREIGN], web.authority.identities, str(tmp_path / "roots.pem"), RULES)
    given = request(
        "/v1/x", "GET", "Accept-Encoding: br", "Range: bytes=0-1", f"Authorization: Bearer {VALUE}", "Connection: close"
    )
    answered = web.raw(given)
    fields = web.asked[0][0]["headers"]
    assert (fields["Accept-Encoding"], fields["Range"], fields["Authorization"]) == (
        "br",
        "bytes=0-1",
        f"Bearer {VALUE}",
    )
    assert VALUE.encode() in answered
