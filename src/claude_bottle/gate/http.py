"""A small HTTP/1.1 server for one connection: requests are read as they come, answers are sent as they are made.

It runs in `http_front`, a confined process.
"""

from __future__ import annotations

import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import h11

from pyro_mcp.errors import InvalidRequest

_CHUNK = 64 * 1024
_IDLE_SECONDS = 75.0
_LARGEST_HEAD = 16 * 1024
_DRAINED = 1 << 20


@dataclass
class Exchange:
    """One request, and the answer to it."""

    method: str
    target: str
    headers: dict[str, str]
    _server: Server = field(repr=False)

    def body(self) -> Iterator[bytes]:
        """Yield the body in pieces of at most 64 KiB, unpacked when it is gzip; raise `InvalidRequest`."""
        encoding = self.headers.get("content-encoding", "identity").lower()
        if encoding not in ("identity", "gzip", "x-gzip"):
            raise InvalidRequest(f"the content encoding {encoding[:40]!r} is not known here")
        pieces = self._server.body()
        yield from pieces if encoding == "identity" else _unpacked(pieces)

    def start(self, status: int, content_type: str) -> None:
        """Begin the answer."""
        self._server.start(status, content_type)

    def write(self, data: bytes) -> None:
        """Send a part of the answer's body."""
        if data:
            self._server.write(data)

    def end(self) -> None:
        """End the answer."""
        self._server.end()


class Server:
    """The server of one connection, which answers its requests one after the other."""

    def __init__(self, connection: socket.socket, handle: Callable[[Exchange], None]) -> None:
        self._socket, self._handle = connection, handle
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD)

    def serve(self) -> None:
        """Serve until the client closes the connection, is silent for too long, or sends what is not HTTP."""
        self._socket.settimeout(_IDLE_SECONDS)
        with suppress(OSError):
            try:
                while self._one():
                    self._http.start_next_cycle()
            except h11.RemoteProtocolError as error:
                self._refuse(error.error_status_hint)

    def _one(self) -> bool:
        """Serve one request; return whether another may follow."""
        event = self._event()
        if not isinstance(event, h11.Request):
            return False
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        exchange = Exchange(event.method.decode("ascii"), event.target.decode("latin-1"), headers, self)
        self._handle(exchange)
        with suppress(InvalidRequest):
            self._drain()
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def _drain(self) -> None:
        seen = 0
        for piece in self.body():
            seen += len(piece)
            if seen > _DRAINED:
                return

    def body(self) -> Iterator[bytes]:
        if self._http.they_are_waiting_for_100_continue:
            self._send(h11.InformationalResponse(status_code=100, headers=[]))
        while self._http.their_state is h11.SEND_BODY:
            event = self._event()
            if isinstance(event, h11.Data):
                yield bytes(event.data)
            elif isinstance(event, h11.ConnectionClosed):
                raise InvalidRequest("the connection was closed in the middle of a request")

    def start(self, status: int, content_type: str) -> None:
        headers = [("content-type", content_type), ("cache-control", "no-cache"), ("transfer-encoding", "chunked")]
        self._send(h11.Response(status_code=status, headers=headers))

    def write(self, data: bytes) -> None:
        self._send(h11.Data(data=data))

    def end(self) -> None:
        self._send(h11.EndOfMessage())

    def _event(self) -> h11.Event | type[h11.PAUSED]:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(self._socket.recv(_CHUNK))
        return event  # type: ignore[return-value]

    def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data:
            self._socket.sendall(data)

    def _refuse(self, status: int) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._send(h11.Response(status_code=status, headers=[("content-length", "0"), ("connection", "close")]))
            self._send(h11.EndOfMessage())


def _unpacked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what gzip packed, in pieces of a bounded size; raise `InvalidRequest` when it is damaged."""
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        for piece in pieces:
            waiting = piece
            while waiting:
                yield unpacker.decompress(waiting, _CHUNK)
                waiting = unpacker.unconsumed_tail
    except zlib.error as error:
        raise InvalidRequest("the request is marked as gzip, but it is not") from error
    if not unpacker.eof:
        raise InvalidRequest("the request ends in the middle of its gzip data")
