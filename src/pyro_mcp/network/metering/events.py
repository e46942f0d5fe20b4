"""Server-sent events, read as their bytes arrive (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from collections.abc import Iterator


class EventParser:
    """A parser of the data of events. An event of more than `most` bytes is left out."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._line, self._line_size = bytearray(), 0
        self._data: list[bytes] = []
        self._size = 0
        self._after_return = False

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Take the next bytes of the stream; yield the data of each event that is now complete."""
        if self._after_return and received[:1] == b"\n":  # the second half of a line end
            received = received[1:]
            self._after_return = False
        if not received:
            return
        self._after_return = received.endswith(b"\r")
        *ended, rest = received.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for part in ended:
            self._add(part)
            yield from self._end_line()
        self._add(rest)

    def _add(self, part: bytes) -> None:
        self._line_size += len(part)
        self._size += len(part)
        if self._size <= self._most:
            self._line += part

    def _end_line(self) -> Iterator[bytes]:
        line, is_blank = bytes(self._line), not self._line_size
        self._line, self._line_size = bytearray(), 0
        if self._size > self._most:
            self._data = []
        elif line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
        if not is_blank:
            return
        data, self._data = b"\n".join(self._data), []
        self._size = 0
        if data:
            yield data
