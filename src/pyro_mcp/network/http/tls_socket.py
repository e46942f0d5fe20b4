"""One end of a TLS connection, non-blocking."""

from __future__ import annotations

import select
import socket
import ssl
import time
from contextlib import suppress

from pyro_mcp.network.http.relay import reset

_CHUNK = 32 * 1024
_FULL = 64 * 1024
_LINGER_SECONDS = 2.0


class TlsSocket:
    """A non-blocking TLS socket with a buffer for unsent data. Raises `OSError`, as `ssl` does."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self._unsent = bytearray()
        self._wants_write = False
        self.ended = False
        """Whether the peer sends no more."""
        self.unclean_eof = False
        """Whether the stream ended without a close_notify, which anybody on the way can cause."""

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
        pieces: list[bytes] = []
        size = 0
        self._wants_write = False
        try:
            # All of it: poll does not report data that TLS has decrypted already.
            while size < _CHUNK or self._sock.pending():
                piece = self._sock.recv(_CHUNK)
                if not piece:
                    self.ended = True
                    break
                pieces.append(piece)
                size += len(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLWantWriteError:
            self._wants_write = True
        except (BrokenPipeError, ConnectionResetError):
            self.ended = self.unclean_eof = True
        except ssl.SSLError as error:
            # Without OP_IGNORE_UNEXPECTED_EOF, Python 3.11.2 does not raise its SSLEOFError.
            if not isinstance(error, ssl.SSLEOFError) and error.reason != "UNEXPECTED_EOF_WHILE_READING":
                raise
            self.ended = self.unclean_eof = True
        return b"".join(pieces)

    def write(self, data: bytes) -> None:
        """Send `data`, now or when there is room."""
        self._unsent += data
        self.flush()

    def flush(self) -> None:
        """Send what there is room for."""
        while self._unsent:
            try:
                sent = self._sock.send(memoryview(self._unsent)[:65536])
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            del self._unsent[:sent]

    def abort(self) -> None:
        """Reset the connection, so that the peer sees that it is incomplete."""
        reset(self._sock)

    def close(self, *, linger: bool = False) -> None:
        """Close the connection with a close_notify; unsent data is lost.

        With `linger`, first wait a moment for a peer that may still be sending: a reset would make it lose unread data.
        """
        with suppress(OSError, ValueError):
            self._sock.setblocking(False)
            self._sock.unwrap()  # sends close_notify, without waiting for the peer's
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
            end = time.monotonic() + (_LINGER_SECONDS if linger else 0.0)
            while (left := end - time.monotonic()) > 0:
                self._sock.settimeout(left)
                if not self._sock.recv(65536):
                    break
        self._sock.close()


def handshake(sock: ssl.SSLSocket, seconds: float) -> TlsSocket:
    """Do the TLS handshake within so many seconds; on failure close the socket and raise `OSError`."""
    sock.setblocking(False)
    with suppress(OSError):  # it may be no TCP socket
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end = time.monotonic() + seconds
    try:
        while (wants := _step_handshake(sock)) is not None:
            poll = select.poll()
            poll.register(sock, wants)
            if not poll.poll(max(0.0, end - time.monotonic()) * 1000):
                raise TimeoutError("the TLS handshake took too long")
    except OSError:
        sock.close()
        raise
    return TlsSocket(sock)


def _step_handshake(sock: ssl.SSLSocket) -> int | None:
    """Continue the handshake; return the event to wait for, None when it is complete."""
    try:
        sock.do_handshake()
    except ssl.SSLWantReadError:
        return select.POLLIN
    except ssl.SSLWantWriteError:
        return select.POLLOUT
    return None
