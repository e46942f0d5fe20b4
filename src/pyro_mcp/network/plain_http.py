"""HTTP/1 requests of a machine as they pass: each must be for the host that the connection goes to."""

from __future__ import annotations

from collections.abc import Callable

from pyro_mcp.network.hello import Unclear, greeted_name

MOST_HEAD_BYTES = 32 * 1024
_METHODS = (
    b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH",
    b"PROPFIND", b"PROPPATCH", b"MKCOL", b"COPY", b"MOVE", b"LOCK", b"UNLOCK", b"REPORT", b"SEARCH",
)  # fmt: skip
_END = b"\r\n\r\n"
_MOST_LINE_BYTES = 1024
_NOT_PASSED_ON = frozenset({b"upgrade", b"http2-settings"})  # after an upgrade nobody could see whom requests are for


def http_name(data: bytes) -> str | None:
    """The canonical host of the request that `data` begins with; None while its head is not complete.

    Raises `Unclear` for anything else, and where line, header and host could be read in two ways.
    """
    end = data.find(_END)
    if end >= 0:
        return _Head(data[:end]).host
    method, space, _ = data[:16].partition(b" ")
    if (method not in _METHODS) if space else not any(one.startswith(method) for one in _METHODS):
        raise Unclear("the connection does not begin with an HTTP/1 request")
    return None


class _Head:
    """The head of one request: its host, how long its body is, and how it is passed on."""

    def __init__(self, head: bytes) -> None:
        first, *lines = head.split(b"\r\n")
        words = first.split(b" ")
        if len(words) != 3 or words[0] not in _METHODS or words[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise Unclear("it is not an HTTP/1 request to a web server")
        if any(byte in head.replace(b"\r\n", b"") for byte in b"\r\n\0"):
            raise Unclear("the HTTP request has a malformed header")
        fields = [_field(line) for line in lines]
        hosts = [value for name, value in fields if name == b"host"]
        if len(hosts) != 1:
            raise Unclear("the HTTP request does not name exactly one host")
        self.host = greeted_name(_without_port(hosts[0]))
        if not words[1].startswith(b"/") and words[1] != b"*" and _absolute(words[1]) != self.host:
            raise Unclear("the HTTP request names two hosts")
        self.chunked, self.length = _framing(fields, old=words[2] == b"HTTP/1.0")
        kept = [line for line, (name, _) in zip(lines, fields, strict=True) if name not in _NOT_PASSED_ON]
        self.passed_on = b"\r\n".join([first, *kept]) + _END


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or any(byte <= 32 or byte >= 127 for byte in name):
        raise Unclear("the HTTP request has a malformed header")
    return name.lower(), value.strip(b" \t")


def _framing(fields: list[tuple[bytes, bytes]], *, old: bool) -> tuple[bool, int]:
    """Whether the body comes in chunks, and its length otherwise."""
    codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]
    lengths = [value for name, value in fields if name == b"content-length"]
    if len(codings) + len(lengths) > 1 or codings not in ([], [b"chunked"]) or (codings and old):
        raise Unclear("the length of the HTTP request's body could be read in two ways")
    if lengths and not (lengths[0].isdigit() and len(lengths[0]) < 19):
        raise Unclear("the HTTP request's body has no proper length")
    return bool(codings), int(lengths[0]) if lengths else 0


def _absolute(target: bytes) -> str:
    scheme, mark, rest = target.partition(b"://")
    if scheme.lower() != b"http" or not mark:
        raise Unclear("the HTTP request is not for a web server")
    return greeted_name(_without_port(rest.replace(b"?", b"/").partition(b"/")[0]))


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.partition(b":")
    if colon and not port.isdigit():
        raise Unclear("the HTTP request names no proper host")
    return name


class Requests:
    """What a machine sends over one connection to `host`, cut into requests that are all for it."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._data = b""
        self._left = 0
        self._step: Callable[[], bytes] = self._head

    def feed(self, data: bytes) -> bytes:
        """What of all that came may be passed on by now; raises `Unclear` at a request that may not."""
        self._data += data
        passed = bytearray()
        while part := self._step():
            passed += part
        return bytes(passed)

    def _take(self, size: int) -> bytes:
        part, self._data = self._data[:size], self._data[size:]
        return part

    def _head(self) -> bytes:
        end = self._data.find(_END)
        if end < 0:
            if len(self._data) > MOST_HEAD_BYTES:
                raise Unclear("the HTTP request's head is too long")
            return b""
        head = _Head(self._take(end + len(_END))[:end])
        if head.host != self._host:
            raise Unclear(f"the HTTP request is for {head.host}")
        self._left = head.length
        self._step = self._chunk_size if head.chunked else self._body
        return head.passed_on

    def _body(self) -> bytes:
        if self._left == 0:
            self._step = self._head
            return self._head()
        part = self._take(self._left)
        self._left -= len(part)
        return part

    def _line(self) -> bytes:
        end = self._data.find(b"\n")
        if end < 0 and len(self._data) > _MOST_LINE_BYTES:
            raise Unclear("a chunk of the HTTP request is malformed")
        return self._take(end + 1)

    def _chunk_size(self) -> bytes:
        line = self._line()
        if line:
            digits = line.removesuffix(b"\r\n").partition(b";")[0].strip(b" \t")
            if not line.endswith(b"\r\n") or not 0 < len(digits) < 16 or not all(one in _HEX for one in digits):
                raise Unclear("a chunk of the HTTP request is malformed")
            size = int(digits, 16)
            self._left = size + 2
            self._step = self._chunk if size else self._trailer
        return line

    def _chunk(self) -> bytes:
        if self._left <= 2:
            return self._chunk_end()
        part = self._take(self._left - 2)
        self._left -= len(part)
        return part

    def _chunk_end(self) -> bytes:
        if len(self._data) < 2:
            return b""
        end = self._take(2)
        if end != b"\r\n":
            raise Unclear("a chunk of the HTTP request is malformed")
        self._step = self._chunk_size
        return end

    def _trailer(self) -> bytes:
        line = self._line()
        if line:
            if not line.endswith(b"\r\n"):
                raise Unclear("a chunk of the HTTP request is malformed")
            self._step = self._head if line == b"\r\n" else self._trailer
        return line


_HEX = b"0123456789abcdefABCDEF"
