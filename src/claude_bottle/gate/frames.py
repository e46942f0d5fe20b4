"""The frames in which the front and the gate exchange one HTTP request and its answer: a kind, a length, the data."""

from __future__ import annotations

import socket
from typing import IO

HEAD, DATA, END, FAULT = b"H", b"D", b"E", b"F"
"""The kinds: a head in JSON, a piece of a body, the end of a body, and why the rest of a body cannot be read."""
_LARGEST = 1 << 20


def send_frame(connection: socket.socket, kind: bytes, data: bytes = b"") -> None:
    """Send one frame, a large one in parts; raises `OSError`."""
    for at in range(0, len(data), _LARGEST) or (0,):
        piece = data[at : at + _LARGEST]
        connection.sendall(kind + len(piece).to_bytes(4, "big") + piece)


def receive_frame(source: IO[bytes]) -> tuple[bytes, bytes]:
    """Return the kind and the data of the next frame; raises `OSError` at the end, and for what is not a frame."""
    head = source.read(5)
    size = int.from_bytes(head[1:], "big")
    data = source.read(size) if len(head) == 5 and size <= _LARGEST else b""
    if len(head) != 5 or len(data) != size:
        raise OSError("the other process has closed the connection")
    return head[:1], data
