"""What a tool may answer, also when a hostile guest has taken its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import IO

from pyro_mcp.guest_protocol.frames import encode, encode_fields
from pyro_mcp.guest_protocol.tree_stream import Tag, Type


class Recorded:
    """A tool that says what it was told to say."""

    def __init__(self, *frames: bytes, failure: Exception | None = None) -> None:
        self._frames = frames
        self._failure = failure

    def __call__(
        self,
        arguments: Sequence[str | bytes],
        *,
        stdin: bytes | IO[bytes] | None = None,
        on_stdout: Callable[[bytes], None],
    ) -> None:
        for frame in self._frames:
            on_stdout(frame)
        if self._failure is not None:
            raise self._failure


def entry(path: bytes, kind: str, *, mode: int = 0o644, size: int = 0, target: bytes | None = None) -> bytes:
    numbers = [(Tag.MODE, mode), (Tag.SIZE, size), (Tag.MTIME_NS, 0), (Tag.LINKS, 1), (Tag.INODE, 1)]
    fields: list[tuple[int, bytes | int]] = [(Tag.PATH, path), (Tag.KIND, ord(kind)), *numbers]
    return encode_fields(Type.ENTRY, fields + ([(Tag.TARGET, target)] if target is not None else []))


def sent(data: bytes) -> bytes:
    return (encode(Type.DATA, data) if data else b"") + encode_fields(Type.FILE_END, [(Tag.SENT, len(data))])


def end(count: int) -> bytes:
    return encode_fields(Type.END, [(Tag.COUNT, count)])
