"""One end of a TLS connection, non-blocking."""

from __future__ import annotations

import select
import ssl
import time

from pyro_mcp.network.http.plain_socket import CHUNK, PlainSocket


class TlsSocket(PlainSocket):
    """A non-blocking TLS socket with a buffer for unsent data. Raises `OSError`, as `ssl` does."""

    end_of_peer = select.POLLRDHUP
    _sock: ssl.SSLSocket

    def read(self) -> bytes:
        """Return the received data, b"" if there is none."""
        pieces: list[bytes] = []
        size = 0
        self._wants_write = False
        try:
            # All of it: poll does not report data that TLS has decrypted already.
            while size < CHUNK or self._sock.pending():
                piece = self._sock.recv(CHUNK)
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

    def _send(self, data: memoryview) -> int:
        try:
            return self._sock.send(data)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return 0
        finally:
            data.release()

    def _say_goodbye(self) -> None:
        self._sock.unwrap()  # sends close_notify, without waiting for the peer's


def handshake(sock: ssl.SSLSocket, seconds: float) -> TlsSocket:
    """Do the TLS handshake within so many seconds; on failure close the socket and raise `OSError`."""
    wrapped = TlsSocket(sock)
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
    return wrapped


def _step_handshake(sock: ssl.SSLSocket) -> int | None:
    """Continue the handshake; return the event to wait for, None when it is complete."""
    try:
        sock.do_handshake()
    except ssl.SSLWantReadError:
        return select.POLLIN
    except ssl.SSLWantWriteError:
        return select.POLLOUT
    return None
