"""A command's standard input, sent to the guest as INPUT frames within the flow-control window."""

from __future__ import annotations

import os
from typing import IO

from pyro_mcp.errors import InvalidRequest, ProtocolViolation
from pyro_mcp.guest_protocol import frames
from pyro_mcp.guest_protocol.frames import Type


class CommandInput:
    """The standard input of one command, of which at most `INPUT_WINDOW` bytes are in flight."""

    def __init__(self, source: bytes | IO[bytes] | None) -> None:
        self._memory = memoryview(source) if isinstance(source, bytes) else None
        self._fd = None if source is None or isinstance(source, bytes) else _descriptor(source)
        self._ended = source is None
        self._untaken = 0

    @property
    def fd(self) -> int | None:
        """Return the descriptor to read from; None when the input is in memory."""
        return self._fd

    @property
    def available(self) -> int:
        """Return how many bytes may be sent now."""
        return 0 if self._ended else frames.INPUT_WINDOW - self._untaken

    def read(self) -> bytes:
        """Return the next piece as an INPUT frame; the last one is empty and means end of file."""
        if self._fd is not None:
            piece = os.read(self._fd, self.available)
        else:
            assert self._memory is not None
            piece = bytes(self._memory[: self.available])
            self._memory = self._memory[len(piece) :]
        self._ended = not piece
        self._untaken += len(piece)
        return frames.encode(Type.INPUT, piece)

    def taken(self, count: int) -> None:
        """Count `count` more bytes as taken by the command. Raises `ProtocolViolation` for more than were sent."""
        if count > self._untaken:
            raise ProtocolViolation("the guest reported more input as taken than was sent")
        self._untaken -= count


def _descriptor(source: IO[bytes]) -> int:
    try:
        return source.fileno()
    except OSError as error:
        raise InvalidRequest(
            "standard input must be bytes or a file with a descriptor", hint="pass its content"
        ) from error
