"""Plain HTTP/1 requests of a guest: each must be for the host that its connection goes to.

h11 parses each request and writes it again, so that the server reads the same requests as the gateway.
"""

from __future__ import annotations

import h11

from pyro_mcp.network.http.client_hello import UnidentifiedHost, server_name

MOST_HEAD_BYTES = 32 * 1024
_METHODS = (
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH",
    b"PROPFIND", b"PROPPATCH", b"MKCOL", b"COPY", b"MOVE", b"LOCK", b"UNLOCK", b"REPORT", b"SEARCH",
)  # fmt: skip
_NOT_PASSED_ON = frozenset({b"upgrade", b"http2-settings"})  # after an upgrade the host of a request would be hidden


def http_name(data: bytes) -> str | None:
    """Return the canonical host of the request that `data` begins with; None while its head is incomplete.

    Raises `UnidentifiedHost` for other bytes, and for a request that two servers could read differently.
    """
    method, space, _ = data[:16].partition(b" ")
    if (method not in _METHODS) if space else not any(one.startswith(method) for one in _METHODS):
        raise UnidentifiedHost("the connection does not begin with an HTTP/1 request")
    parser = _parser()
    parser.receive_data(data)
    event = _next_event(parser)
    return _host_of(event) if isinstance(event, h11.Request) else None


class RequestFilter:
    """A filter for one connection to `host`: it passes only requests for that host."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._parser, self._writer = _parser(), _writer()

    def feed(self, data: bytes) -> bytes:
        """Add input; return the bytes to pass on. Raises `UnidentifiedHost` at a request for another host."""
        self._parser.receive_data(data)
        passed = bytearray()
        while True:
            event = _next_event(self._parser)
            if isinstance(event, h11.Request):
                passed += self._head(event)
            elif isinstance(event, h11.Data):
                passed += self._writer.send(event) or b""
            elif isinstance(event, h11.EndOfMessage):
                passed += self._writer.send(h11.EndOfMessage(headers=event.headers)) or b""
                rest, _ = self._parser.trailing_data
                self._parser, self._writer = _parser(), _writer()
                if rest:
                    self._parser.receive_data(rest)
            else:
                return bytes(passed)

    def _head(self, request: h11.Request) -> bytes:
        host = _host_of(request)
        if host != self._host:
            raise UnidentifiedHost(f"the HTTP request is for {host}")
        kept = [(key, value) for key, value in request.headers.raw_items() if key.lower() not in _NOT_PASSED_ON]
        written = self._writer.send(h11.Request(method=request.method, target=request.target, headers=kept)) or b""
        # h11 writes HTTP/1.1, but an HTTP/1.0 client may not understand the answer to that.
        return written.replace(b" HTTP/1.1\r\n", b" HTTP/%b\r\n" % request.http_version, 1)


def _parser() -> h11.Connection:
    return h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD_BYTES)


def _writer() -> h11.Connection:
    return h11.Connection(h11.CLIENT)


def _next_event(parser: h11.Connection) -> object:
    try:
        return parser.next_event()
    except h11.RemoteProtocolError as error:
        too_long = error.error_status_hint == 431
        raise UnidentifiedHost(
            "the HTTP request's head is too long" if too_long else f"malformed HTTP: {error}"
        ) from None


def _host_of(request: h11.Request) -> str:
    if request.method not in _METHODS or request.http_version not in (b"1.1", b"1.0"):
        raise UnidentifiedHost("it is not an HTTP/1 request to a web server")
    keys = [key for key, _ in request.headers]
    hosts = [value for key, value in request.headers if key == b"host"]
    if len(hosts) != 1:
        raise UnidentifiedHost("the HTTP request does not name exactly one host")
    coded = keys.count(b"transfer-encoding")
    if coded + keys.count(b"content-length") > 1 or (coded and request.http_version == b"1.0"):
        raise UnidentifiedHost("the length of the HTTP request's body is ambiguous")
    host = server_name(_without_port(hosts[0]))
    if not request.target.startswith(b"/") and request.target != b"*" and _absolute(request.target) != host:
        raise UnidentifiedHost("the HTTP request names two hosts")
    return host


def _absolute(target: bytes) -> str:
    scheme, mark, rest = target.partition(b"://")
    if scheme.lower() != b"http" or not mark:
        raise UnidentifiedHost("the HTTP request is not for a web server")
    return server_name(_without_port(rest.replace(b"?", b"/").partition(b"/")[0]))


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.partition(b":")
    if colon and not port.isdigit():
        raise UnidentifiedHost("the HTTP request names no proper host")
    return name
