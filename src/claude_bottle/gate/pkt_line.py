"""The lines of git's protocol: four hexadecimal digits with the length, then the data (gitprotocol-common(5))."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from pyro_mcp.errors import InvalidRequest

FLUSH = b"0000"
_LONGEST = 65520
_BAND_DATA = 65515  # of side-band-64k
_REPORT, _PROGRESS = b"\1", b"\2"


def packet(data: bytes) -> bytes:
    """Return `data` as one line."""
    if len(data) + 4 > _LONGEST:
        raise ValueError("a line of git's protocol is too long")
    return b"%04x" % (len(data) + 4) + data


def read_until_flush(source: IO[bytes], *, most: int) -> Iterator[bytes]:
    """Yield the lines up to the next flush; raise `InvalidRequest` when they are damaged or more than `most`."""
    for _ in range(most + 1):
        head = source.read(4)
        if head == FLUSH:
            return
        try:
            size = int(head, 16)
        except ValueError:
            size = 0
        if len(head) != 4 or not 4 < size <= _LONGEST or not head.isalnum():
            raise InvalidRequest("the request is damaged: git's protocol has no such line")
        data = source.read(size - 4)
        if len(data) != size - 4:
            raise InvalidRequest("the request ends in the middle of a line")
        yield data
    raise InvalidRequest(f"the request has more than {most} lines")


def progress(text: str) -> bytes:
    """Return a message that git prints with the prefix "remote:"."""
    return packet(_PROGRESS + text.encode(errors="replace")[:_BAND_DATA] + b"\n")


def report(lines: list[str]) -> bytes:
    """Return the report of a push, and the end of the answer."""
    inner = b"".join(packet(line.encode(errors="replace") + b"\n") for line in lines) + FLUSH
    pieces = [inner[at : at + _BAND_DATA] for at in range(0, len(inner), _BAND_DATA)]
    return b"".join(packet(_REPORT + piece) for piece in pieces) + FLUSH


def advertised_error(service: str, text: str) -> bytes:
    """Return the answer to a request for refs that lets git print `text` and fail."""
    return packet(f"# service={service}\n".encode()) + FLUSH + packet(f"ERR {text}".encode(errors="replace"))
