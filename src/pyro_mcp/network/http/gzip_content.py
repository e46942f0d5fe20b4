"""Content that a host has compressed with gzip, unpacked piece by piece."""

from __future__ import annotations

import zlib

_LARGEST_PIECE = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS


class GzipContent:
    """`take` what has come, then get `piece` after piece while there is any; raises `OSError` for what is not gzip."""

    def __init__(self) -> None:
        self._packed = b""
        self._unpacking = zlib.decompressobj(_GZIP)
        self._begun = False

    @property
    def waiting(self) -> bool:
        """Whether there is another piece."""
        return bool(self._packed)

    def take(self, packed: bytes) -> None:
        """Add what has come."""
        self._packed += packed

    def piece(self) -> bytes:
        """Return some of the content."""
        self._begun = True
        try:
            content = self._unpacking.decompress(self._packed, _LARGEST_PIECE)
        except zlib.error as error:
            raise ConnectionResetError(f"the answer is not proper gzip: {error}") from None
        self._packed = self._unpacking.unconsumed_tail
        if self._unpacking.eof:  # another member may follow
            self._packed = self._unpacking.unused_data
            self._unpacking, self._begun = zlib.decompressobj(_GZIP), False
        return content

    def finish(self) -> bytes:
        """Return what is left at the end."""
        content = self._unpacking.flush() if self._begun else b""
        if self._begun and not self._unpacking.eof:
            raise ConnectionResetError("the compressed answer broke off")
        return content
