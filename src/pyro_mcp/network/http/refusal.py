"""The answer to a plain HTTP request that is refused before any of it was passed on."""

from __future__ import annotations

import socket
from contextlib import suppress

from pyro_mcp.network.http.plain_socket import PlainSocket

ADVICE = "The user can allow it with an entry in the allow list of this sandbox."
"""The sentence after the reason of a refusal, for the guest."""
_FIRST_BYTES_SECONDS = 1.5
_METHODS = (b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC")


def refuse_request(guest: socket.socket, reason: str) -> None:
    """Answer the HTTP request of a refused connection, if it comes at once, with 403 and the reason."""
    with suppress(OSError):
        guest.settimeout(_FIRST_BYTES_SECONDS)
        method = guest.recv(4, socket.MSG_PEEK)
        if method not in _METHODS:
            return
        body = f"pyro: {reason}. {ADVICE}\n".encode()
        head = f"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
        answering = PlainSocket(guest)
        answering.write(f"{head}Connection: close\r\n\r\n".encode() + (b"" if method == b"HEAD" else body))
        answering.close(linger=True)
