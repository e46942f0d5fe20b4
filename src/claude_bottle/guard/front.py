"""A front of the guard: a confined process that speaks HTTP with the guest, so that the guard does not parse HTTP.

    guest ── gateway ── front ── call ── guard

A front listens at a socket in the guard's private folder, which gets only connections of the bottle's gateway. For each
request that it has read it makes a call: a connection to the guard. It starts with the first connection of the guest.
When it ends, its connections end too, and the next connection starts another one; it ends with its guard.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pyro_mcp.errors import Conflict, HostNotReady
from pyro_mcp.host.process import child_environment
from pyro_mcp.host.token_bucket import TokenBucket

_START_SECONDS = 30.0
_BACKLOG = 64
_STARTS_AT_ONCE, _STARTS_PER_SECOND = 8, 0.1


class Front:
    """The front that runs the module `program`; any thread may use it.

    `answer` gets the guard's end of each call, in a thread of its own, at most `most_calls` at once; afterwards it is
    closed.
    """

    def __init__(
        self,
        program: str,
        socket_path: Path,
        answer: Callable[[socket.socket], None],
        *,
        arguments: Sequence[str] = (),
        most_calls: int,
    ) -> None:
        self._program, self._arguments, self._answer = program, tuple(arguments), answer
        self._folder = os.open(socket_path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._path = f"/proc/self/fd/{self._folder}/{socket_path.name}"  # a socket's own path has at most 107 bytes
        self._slots = threading.BoundedSemaphore(most_calls)
        self._starts = TokenBucket(_STARTS_AT_ONCE, _STARTS_PER_SECOND)
        self._lock = threading.Lock()
        self._channel: socket.socket | None = None

    def connect(self) -> socket.socket:
        """Return a new connection to the front, which is started if it does not run. Raises `PyroError`."""
        with self._lock:
            if self._channel is None:
                self._channel = self._start()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(_START_SECONDS)
        try:
            connection.connect(self._path)
        except ConnectionRefusedError as error:
            connection.close()
            raise Conflict("this part of the guard has just ended", hint="try again") from error
        except OSError as error:
            connection.close()
            raise Conflict("the guard has too many connections", hint="try again later") from error
        connection.settimeout(None)
        return connection

    def close(self) -> None:
        """End the front, and so all connections of the guest to it."""
        with self._lock:
            if self._channel is not None:
                with suppress(OSError):
                    self._channel.shutdown(socket.SHUT_RDWR)

    def _start(self) -> socket.socket:
        if not self._starts.take():
            raise Conflict("this part of the guard has ended too often", hint="try again later")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            with theirs, listener:  # only the front keeps them open, so that all ends with it
                with suppress(FileNotFoundError):
                    os.unlink(self._path)
                listener.bind(self._path)
                listener.listen(_BACKLOG)
                descriptors = (listener.fileno(), theirs.fileno())
                words = [sys.executable, "-P", "-m", self._program, *map(str, descriptors), *self._arguments]
                process = subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    pass_fds=descriptors,
                    env=child_environment(),
                    cwd="/",
                )
        except OSError as error:
            ours.close()
            raise HostNotReady(f"a part of the guard did not start: {error.strerror}", hint="try again") from error
        threading.Thread(target=self._serve, args=(ours, process), daemon=True).start()
        return ours

    def _serve(self, channel: socket.socket, process: subprocess.Popen[bytes]) -> None:
        """Answer the calls of one front until it ends."""
        try:
            process.wait()  # its child is the front: see `confine`
            while True:
                self._slots.acquire()
                call = _received(channel)
                if call is None:
                    self._slots.release()
                    return
                threading.Thread(target=self._run, args=(call,), daemon=True).start()
        finally:
            with self._lock:
                channel.close()
                if self._channel is channel:
                    self._channel = None

    def _run(self, call: socket.socket) -> None:
        try:
            with call, suppress(OSError):
                self._answer(call)
        finally:
            self._slots.release()


def _received(channel: socket.socket) -> socket.socket | None:
    """Return the connection of the next call; None at the end of the front, and for what a front does not send."""
    try:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return None
    try:
        (descriptor,) = descriptors
        call = socket.socket(fileno=descriptor)
    except (ValueError, OSError):
        for one in descriptors:
            os.close(one)
        return None
    if call.family == socket.AF_UNIX and call.type == socket.SOCK_STREAM:
        return call
    call.close()
    return None
