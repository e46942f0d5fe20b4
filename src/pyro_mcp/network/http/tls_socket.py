"""One end of a TLS connection that never waits."""

from __future__ import annotations

import select
import socket
import ssl
import time
from contextlib import suppress

from pyro_mcp.network.http.relay import reset

_CHUNK = 32 * 1024
_ENOUGH = 64 * 1024
_LINGER_SECONDS = 2.0


class TlsLine:
    """Reads and writes what is ready, remembers what still has to be written. Raises `OSError`, as `ssl` does."""

    def __init__(self, line: ssl.SSLSocket) -> None:
        self._line = line
        self._waiting = bytearray()
        self._wants_write = False
        self.ended = False
        """Whether the other side sends no more."""
        self.torn = False
        """Whether it ended without saying so: anyone on the way can do that."""

    def fileno(self) -> int:
        return self._line.fileno()

    @property
    def full(self) -> bool:
        """Whether so much waits to be written that no more should be added."""
        return len(self._waiting) >= _ENOUGH

    @property
    def drained(self) -> bool:
        """Whether all has been written."""
        return not self._waiting

    def interest(self, *, reads: bool) -> int:
        """The events of `poll` to wait for."""
        wants = select.POLLIN if reads and not self.ended else 0
        return wants | (select.POLLOUT if self._waiting or self._wants_write else 0)

    def read(self) -> bytes:
        """What has come, b"" if nothing has."""
        pieces: list[bytes] = []
        size = 0
        self._wants_write = False
        try:
            # All of it: what TLS has unpacked already, poll does not see.
            while size < _CHUNK or self._line.pending():
                piece = self._line.recv(_CHUNK)
                if not piece:
                    self.ended = True
                    break
                pieces.append(piece)
                size += len(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            self._wants_write = True
        except (ssl.SSLEOFError, ConnectionResetError):
            self.ended = self.torn = True
        return b"".join(pieces)

    def write(self, data: bytes) -> None:
        """Have `data` written, now or when there is room."""
        self._waiting += data
        self.flush()

    def flush(self) -> None:
        """Write what there is room for."""
        while self._waiting:
            try:
                sent = self._line.send(memoryview(self._waiting)[:65536])
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            del self._waiting[:sent]

    def tear(self) -> None:
        """End the connection so that the other side sees that it is not complete."""
        reset(self._line)

    def close(self, *, linger: bool = False) -> None:
        """End the connection; what is still to be written is lost.

        `linger` for a moment where the other side may still be sending: a reset would cost it what it has not read.
        """
        with suppress(OSError, ValueError):
            self._line.setblocking(False)
            self._line.unwrap()  # says goodbye; the other side's is not waited for
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_WR)
            end = time.monotonic() + (_LINGER_SECONDS if linger else 0.0)
            while (left := end - time.monotonic()) > 0:
                self._line.settimeout(left)
                if not self._line.recv(65536):
                    break
        self._line.close()


def handshake(line: ssl.SSLSocket, seconds: float) -> TlsLine:
    """Agree on keys within so many seconds in all; raises `OSError`, and closes the socket then."""
    line.setblocking(False)
    with suppress(OSError):  # it may be no TCP socket
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end = time.monotonic() + seconds
    try:
        while (wants := _shaken(line)) is not None:
            poll = select.poll()
            poll.register(line, wants)
            if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
                raise TimeoutError("TLS was not agreed on in time")
    except OSError:
        line.close()
        raise
    return TlsLine(line)


def _shaken(line: ssl.SSLSocket) -> int | None:
    """The event to wait for before the handshake can go on; None when it is done."""
    try:
        line.do_handshake()
    except ssl.SSLWantReadError:
        return select.POLLIN
    except ssl.SSLWantWriteError:
        return select.POLLOUT
    return None
