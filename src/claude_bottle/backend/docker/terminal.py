"""The terminal of a container's first process, while somebody is attached to it.

Its output comes from the log of the container, which begins with what was written before and has no gap; its input and
its size go through `docker attach` on a terminal of ours. Both programs of docker are killed at the end: the container
does not notice.
"""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from claude_bottle.backend.docker.engine import Engine

REPLAYED = 64 * 1024
"""The number of bytes of earlier output that are shown first after attaching."""
_PIECE = 64 * 1024
# docker detaches at this sequence, so it must be one that nobody types or pastes.
_DETACH = "--detach-keys=ctrl-^,ctrl-],ctrl-^,ctrl-_,ctrl-^,ctrl-]"


class Terminal:
    """The terminal of one container."""

    def __init__(self, engine: Engine, container: str) -> None:
        self._engine = engine
        self._container = container
        self._size: tuple[int, int] | None = None
        self._client: tuple[int, subprocess.Popen[bytes]] | None = None

    def output(self, *, most: int) -> bytes:
        """Return the last `most` bytes of the output that the log has."""
        kept = bytearray()

        def keep(piece: bytes) -> None:
            kept.extend(piece)
            del kept[: max(0, len(kept) - most)]

        self._engine.run(["logs", self._container], on_stdout=keep)
        return bytes(kept)

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal: at once while somebody is attached here, else when somebody attaches."""
        self._size = (columns, rows)
        if self._client is not None:
            terminal, program = self._client
            _set_size(terminal, columns, rows)
            program.send_signal(signal.SIGWINCH)

    def attach(self, stdin: BinaryIO, on_output: Callable[[bytes], None], interrupt: int | None) -> None:
        """Connect `stdin` and `on_output` until `stdin` or the container ends, or `interrupt` is readable."""
        earlier = self._log_size()
        with self._input() as keyboard, self._log() as log:
            assert log.stdout is not None
            shown = _Later(max(0, earlier - REPLAYED), on_output)
            takes_keys, waiting = True, b""
            while True:
                # While the agent does not take what was typed, no more is read, but its output and `interrupt` are.
                read = [
                    log.stdout.fileno(),
                    *([keyboard] if takes_keys else []),
                    *([] if waiting else [stdin.fileno()]),
                ]
                ready = _ready([*read, *([] if interrupt is None else [interrupt])], keyboard if waiting else None)
                if log.stdout.fileno() in ready:
                    if not (piece := os.read(log.stdout.fileno(), _PIECE)):
                        return
                    shown.take(piece)
                if interrupt in ready:
                    return
                if keyboard in ready:
                    takes_keys = _drained(keyboard)
                if stdin.fileno() in ready and not waiting and not (waiting := os.read(stdin.fileno(), _PIECE)):
                    return
                waiting = _typed(keyboard, waiting) if takes_keys else b""

    def _log_size(self) -> int:
        sizes: list[int] = []
        self._engine.run(["logs", self._container], on_stdout=lambda piece: sizes.append(len(piece)))
        return sum(sizes)

    @contextmanager
    def _log(self) -> Iterator[subprocess.Popen[bytes]]:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with _killed_at_end(self._engine.start(["logs", "--follow", self._container], **streams)) as program:
            yield program

    @contextmanager
    def _input(self) -> Iterator[int]:
        """Yield a descriptor that takes what is typed."""
        ours, theirs = pty.openpty()
        try:
            tty.setraw(theirs)
            if self._size is not None:
                _set_size(ours, *self._size)
            words = ["attach", "--sig-proxy=false", _DETACH, self._container]
            streams = {"stdin": theirs, "stdout": theirs, "stderr": subprocess.DEVNULL}
            with _killed_at_end(self._engine.start(words, **streams)) as program:
                os.close(theirs)
                theirs = -1
                os.set_blocking(ours, False)
                self._client = (ours, program)
                yield ours
        finally:
            self._client = None
            os.close(ours)
            if theirs >= 0:
                os.close(theirs)


class _Later:
    """An `on_output` that leaves out the first `skipped` bytes."""

    def __init__(self, skipped: int, on_output: Callable[[bytes], None]) -> None:
        self._skipped = skipped
        self._on_output = on_output

    def take(self, piece: bytes) -> None:
        rest = piece[self._skipped :]
        self._skipped = max(0, self._skipped - len(piece))
        if rest:
            self._on_output(rest)


@contextmanager
def _killed_at_end(program: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    with program:
        try:
            yield program
        finally:
            program.kill()


def _set_size(terminal: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _drained(terminal: int) -> bool:
    """Discard what docker shows on its terminal, which the log has too; return whether it still runs."""
    try:
        return bool(os.read(terminal, _PIECE))
    except BlockingIOError:
        return True
    except OSError:  # EIO: its last descriptor was closed
        return False


def _ready(read: list[int], write: int | None) -> set[int]:
    """Wait until one of these descriptors can be read, or `write` be written to; return all that are ready."""
    poll = select.poll()
    for descriptor in read:
        poll.register(descriptor, select.POLLIN)
    if write is not None:
        poll.register(write, select.POLLIN | select.POLLOUT)
    return {descriptor for descriptor, _ in poll.poll()}


def _typed(terminal: int, waiting: bytes) -> bytes:
    """Write as much of what was typed as the terminal takes now; return the rest."""
    try:
        return waiting[os.write(terminal, waiting) :] if waiting else b""
    except BlockingIOError:
        return waiting
    except OSError:  # EIO: docker has ended
        return b""
