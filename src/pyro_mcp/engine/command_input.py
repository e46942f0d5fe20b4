"""A command's standard input on its way into the guest."""

from __future__ import annotations

import os
from typing import IO

from pyro_mcp.errors import InvalidRequest, ProtocolViolation
from pyro_mcp.guest_protocol import frames
from pyro_mcp.guest_protocol.frames import Type


class CommandInput:
    """The input of one command, read at most `INPUT_WINDOW` bytes ahead of it."""

    def __init__(self, source: bytes | IO[bytes] | None) -> None:
        self._memory = memoryview(source) if isinstance(source, bytes) else None
        self._fd = None if source is None or isinstance(source, bytes) else _descriptor(source)
        self._ended = source is None
        self._untaken = 0

    @property
    def fd(self) -> int | None:
        """The descriptor that it is read from; None when it was given whole."""
        return self._fd

    @property
    def room(self) -> int:
        """How many bytes may be read now."""
        return 0 if self._ended else frames.INPUT_WINDOW - self._untaken

    def read(self) -> bytes:
        """The next piece as an INPUT frame; the last one is empty and means end of file."""
        if self._fd is not None:
            piece = os.read(self._fd, self.room)
        else:
            assert self._memory is not None
            piece = bytes(self._memory[: self.room])
            self._memory = self._memory[len(piece) :]
        self._ended = not piece
        self._untaken += len(piece)
        return frames.encode(Type.INPUT, piece)

    def taken(self, count: int) -> None:
        """Note that the command has read so many bytes more."""
        if count > self._untaken:
            raise ProtocolViolation("the guest took more input than it was given")
        self._untaken -= count


def _descriptor(source: IO[bytes]) -> int:
    try:
        return source.fileno()
    except OSError as error:
        raise InvalidRequest(
            "standard input is given whole, as bytes, or as a file that the system knows", hint="pass its content"
        ) from error
