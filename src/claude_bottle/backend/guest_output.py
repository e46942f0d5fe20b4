"""The output of a program in a bottle, kept up to a limit."""

from __future__ import annotations

from claude_bottle.errors import BottleFailed

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of output that are kept of one program; a program that writes more has failed."""


class GuestOutput:
    """Keeps what a program of the guest writes, in `content`.

    `take` raises `BottleFailed` for more than `most` bytes, which ends the program when its runner calls it.
    """

    def __init__(self, program: str, most: int = MOST_BYTES) -> None:
        self._program = program
        self._most = most
        self._kept = bytearray()

    @property
    def content(self) -> bytes:
        """All that was written."""
        return bytes(self._kept)

    def take(self, piece: bytes) -> None:
        """Keep a piece. Raises `BottleFailed`."""
        if len(self._kept) + len(piece) > self._most:
            raise BottleFailed(f"{self._program} wrote more than {self._most // 1024} KiB in the bottle")
        self._kept += piece
