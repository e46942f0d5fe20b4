"""Decompression of gzip content in pieces of bounded size."""

from __future__ import annotations

import zlib

_LARGEST_PIECE = 64 * 1024
_GZIP = 16 + zlib.MAX_WBITS


class GzipContent:
    """A gzip decompressor: `take` input, then call `piece` while there is more; raises `OSError` for invalid input."""

    def __init__(self) -> None:
        self._compressed = b""
        self._decompressor = zlib.decompressobj(_GZIP)
        self._started = False

    @property
    def waiting(self) -> bool:
        """Whether input is left for another piece."""
        return bool(self._compressed)

    def take(self, compressed: bytes) -> None:
        """Add input."""
        self._compressed += compressed

    def piece(self) -> bytes:
        """Return the next piece of the content."""
        self._started = True
        try:
            content = self._decompressor.decompress(self._compressed, _LARGEST_PIECE)
        except zlib.error as error:
            raise ConnectionResetError(f"the answer is not proper gzip: {error}") from None
        self._compressed = self._decompressor.unconsumed_tail
        if self._decompressor.eof:  # another gzip member may follow
            self._compressed = self._decompressor.unused_data
            self._decompressor, self._started = zlib.decompressobj(_GZIP), False
        return content

    def finish(self) -> bytes:
        """Return the rest of the content at the end of the input."""
        content = self._decompressor.flush() if self._started else b""
        if self._started and not self._decompressor.eof:
            raise ConnectionResetError("the compressed answer is incomplete")
        return content
