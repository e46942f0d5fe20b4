"""Lines in and out of this process, without a thread that could hang in a read or a write."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio
import anyio.lowlevel
import pydantic_core

LONGEST_LINE = 64 * 1024 * 1024
"""Bytes of one message; what is longer is dropped, and refused where it says its id."""
_CHUNK = 64 * 1024
# A pipe that poll() calls writable takes this much without blocking: PIPE_BUF in pipe(7).
_PIECE = 4096
# Where a message may say its own id: the first words, or the last.
_ID = re.compile(rb'^\{"jsonrpc": ?"2\.0", ?"id": ?(\d+|"[^"\\]*")|"id": ?(\d+|"[^"\\]*")\}\s*$')
_SHOWN = 256


@contextmanager
def claimed(number: int, instead: int) -> Iterator[int]:
    """Yield a duplicate of a standard stream; in the block, users of the stream itself get `instead`.

    So nothing but the protocol is ever on the wire, and no program that we start reads from it.
    """
    wire = os.dup(number)
    os.dup2(instead, number)
    try:
        yield wire
    finally:
        os.dup2(wire, number)
        os.close(wire)


class Lines:
    """The lines that come from a descriptor, as an asynchronous iterator; `on_end` is called when there are no more."""

    def __init__(self, fd: int, on_end: Callable[[], None]) -> None:
        self._fd = fd
        self._on_end = on_end
        self._held = bytearray()
        self._head: bytes | None = None
        """The beginning of a line that is too long, while the rest of it comes."""
        self._seen = 0
        """How much of what is held has no end of line in it."""
        self._ended = False

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> str:
        while (at := self._held.find(b"\n", self._seen)) < 0:
            if self._ended:
                raise StopAsyncIteration
            self._seen = len(self._held)
            await self._more()
        line = self._held[:at]
        del self._held[: at + 1]
        self._seen = 0
        if self._head is not None:
            line, self._head = _refused(self._head, line, f"a message of more than {LONGEST_LINE} bytes"), None
        elif line.strip() and not _is_json(line):
            line = _refused(bytes(line[:_SHOWN]), line, "a message that is not JSON")
        return line.decode(errors="replace")

    async def _more(self) -> None:
        await _wait(anyio.wait_readable, self._fd)
        try:
            data = os.read(self._fd, _CHUNK)
        except ConnectionResetError:  # a socket whose far end has left with answers unread
            data = b""
        if not data:
            self._ended = True
            self._on_end()
        self._held += data
        if len(self._held) > LONGEST_LINE and b"\n" not in data:
            self._head = self._head or bytes(self._held[:_SHOWN])
            del self._held[:-_SHOWN]
            self._seen = 0


def _is_json(line: bytearray) -> bool:
    """Return whether the protocol's library can parse it; it would leave other messages without an answer."""
    try:
        pydantic_core.from_json(bytes(line))
    except ValueError:
        return False
    return True


def _refused(head: bytes, tail: bytearray, why: str) -> bytearray:
    """Return a request with the same id that gets an error as its answer, or nothing if there is no id."""
    found = _ID.search(head) or _ID.search(tail[-_SHOWN:])
    if found is None:
        return bytearray()
    return bytearray(b'{"jsonrpc":"2.0","id":%b,"method":"%b"}' % (found[1] or found[2], why.encode()))


class Writer:
    """Text that goes to a descriptor; raises `BrokenPipeError` when nobody reads it any more."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    async def write(self, text: str) -> None:
        left = memoryview(text.encode(errors="replace"))
        while left:
            await _wait(anyio.wait_writable, self._fd)
            left = left[os.write(self._fd, left[:_PIECE]) :]

    async def flush(self) -> None:
        """Do nothing: everything is written already."""


async def _wait(ready: Callable[[int], Awaitable[None]], fd: int) -> None:
    try:
        await ready(fd)
    except OSError as error:
        if error.errno != errno.EPERM:  # a regular file, which is always ready
            raise
        await anyio.lowlevel.checkpoint()
