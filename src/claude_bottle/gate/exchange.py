"""One request of the guest's git and the answer to it, by way of the front that reads HTTP."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from claude_bottle.gate.frames import DATA, END, HEAD, receive_frame, send_frame
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.visible import visible_line

HEADERS = ("content-type", "git-protocol")
"""The header fields that the gate looks at; the front passes on no other one."""


@dataclass
class Exchange:
    """One request, and the answer to it."""

    method: str
    target: str
    headers: dict[str, str]
    _call: socket.socket = field(repr=False)
    _source: IO[bytes] = field(repr=False)
    answered: bool = False

    @classmethod
    @contextmanager
    def of(cls, call: socket.socket) -> Iterator[Exchange]:
        """Yield the request that a front passes on by `call`; raises `OSError` for what a front does not send."""
        with call.makefile("rb") as source:
            kind, data = receive_frame(source)
            try:
                found = json.loads(data) if kind == HEAD else {}
                headers = {name: str(found["headers"].get(name, "")) for name in HEADERS}
                exchange = cls(str(found["method"]), str(found["target"]), headers, call, source)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise OSError("the front sent no request") from error
            yield exchange

    def body(self, *, most: int) -> Iterator[bytes]:
        """Yield the body; raise `InvalidRequest` when it is damaged, or has more than `most` bytes."""
        seen = 0
        while True:
            kind, data = receive_frame(self._source)
            if kind == END:
                return
            if kind != DATA:
                raise InvalidRequest(visible_line(data.decode(errors="replace"), 200))
            seen += len(data)
            if seen > most:
                raise InvalidRequest(f"the request is larger than {most >> 20} MiB, the limit of the git gate")
            yield data

    def start(self, status: int, content_type: str) -> None:
        """Begin the answer."""
        self.answered = True
        send_frame(self._call, HEAD, json.dumps({"status": status, "type": content_type}).encode())

    def write(self, data: bytes) -> None:
        """Send a part of the answer's body."""
        if data:
            send_frame(self._call, DATA, data)

    def end(self) -> None:
        """End the answer."""
        send_frame(self._call, END)

    def answer(self, status: int, content_type: str, body: bytes) -> None:
        """Send a whole answer."""
        self.start(status, content_type)
        self.write(body)
        self.end()
