"""One end of a TCP connection, non-blocking."""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress

from pyro_mcp.network.http.relay import reset

CHUNK = 32 * 1024
_FULL = 64 * 1024
_LINGER_SECONDS = 2.0
_IDLE_SECONDS_UNTIL_PROBED = 60


class PlainSocket:
    """A non-blocking socket with a buffer for unsent data; `TlsSocket` is its encrypted kind. Raises `OSError`."""

    end_of_peer = 0
    """What `poll` must watch for to see that the peer is gone; without TLS, an end of its data may be only a half."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        with suppress(OSError):  # it may be no TCP socket
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sock = sock
        self._unsent = bytearray()
        self._wants_write = False
        self.ended = False
        """Whether the peer sends no more."""
        self.unclean_eof = False
        """Whether the stream ended in a way that anybody on the path can cause: under TLS, without a close_notify."""

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def full(self) -> bool:
        """Whether the buffer is so full that no more should be added."""
        return len(self._unsent) >= _FULL

    @property
    def drained(self) -> bool:
        """Whether all data has been sent."""
        return not self._unsent

    def interest(self, *, reads: bool) -> int:
        """Return the events of `poll` to wait for."""
        wants = select.POLLIN if reads and not self.ended else 0
        return wants | (select.POLLOUT if self._unsent or self._wants_write else 0)

    def read(self) -> bytes:
        """Return the received data, b"" if there is none."""
        try:
            data = self._sock.recv(CHUNK)
        except BlockingIOError:
            return b""
        except (BrokenPipeError, ConnectionResetError):
            self.ended = self.unclean_eof = True
            return b""
        self.ended = not data
        return data

    def write(self, data: bytes) -> None:
        """Send `data`, now or when there is room."""
        self._unsent += data
        self.flush()

    def flush(self) -> None:
        """Send what there is room for."""
        while self._unsent:
            sent = self._send(memoryview(self._unsent)[:65536])
            if not sent:
                return
            del self._unsent[:sent]

    def _send(self, data: memoryview) -> int:
        """Send some of `data`; return how much, 0 when there is no room."""
        try:
            return self._sock.send(data)
        except BlockingIOError:
            return 0
        finally:
            data.release()  # the buffer that it shows is about to change

    def probe_when_idle(self) -> None:
        """Have the kernel find out that a silent peer has gone."""
        with suppress(OSError):  # it may be no TCP socket
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_SECONDS_UNTIL_PROBED)

    def abort(self) -> None:
        """Reset the connection, so that the peer sees that it is incomplete."""
        reset(self._sock)

    def close(self, *, linger: bool = False) -> None:
        """Close the connection; unsent data is lost.

        With `linger`, first wait a moment for a peer that may still be sending: a reset would make it lose unread data.
        """
        with suppress(OSError, ValueError):
            self._sock.setblocking(False)
            self._say_goodbye()
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            end = time.monotonic() + (_LINGER_SECONDS if linger else 0.0)
            while (left := end - time.monotonic()) > 0:
                self._sock.settimeout(left)
                if not self._sock.recv(65536):
                    break
        self._sock.close()

    def _say_goodbye(self) -> None:
        """Tell the peer that no more data follows, where the end of the connection alone does not say it."""
