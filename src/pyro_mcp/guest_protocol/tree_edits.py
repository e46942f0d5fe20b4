"""Encode the input of the guest tool's `apply`: see `guest/TREE.md`."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pyro_mcp.guest_protocol.frames import encode, encode_fields
from pyro_mcp.guest_protocol.tree_stream import Tag, Type

Action = Literal["f", "l", "d", "x", "m"]
"""Write a file, make a link, make a folder, delete, set a mode."""

_PIECE = 256 * 1024
_SIGNED = struct.Struct("<q")


@dataclass(frozen=True)
class Edit:
    """One change of a tree. `content` yields exactly `size` bytes; without `mode` an existing file keeps its mode."""

    path: bytes
    action: Action
    mode: int | None = None
    mtime_ns: int | None = None
    target: bytes = b""
    size: int = 0
    content: Iterable[bytes] = ()


def encode_edits(edits: Iterable[Edit]) -> Iterator[bytes]:
    """Yield the input of `apply` in pieces. Raises `ValueError` for content that does not have the edit's size."""
    for edit in edits:
        fields: list[tuple[int, bytes | int]] = [(Tag.PATH, edit.path), (Tag.ACTION, ord(edit.action))]
        if edit.mode is not None:
            fields.append((Tag.MODE, edit.mode))
        if edit.mtime_ns is not None:
            fields.append((Tag.MTIME_NS, _SIGNED.pack(edit.mtime_ns)))
        if edit.action == "l":
            fields.append((Tag.TARGET, edit.target))
        if edit.action == "f":
            fields.append((Tag.SIZE, edit.size))
        yield encode_fields(Type.EDIT, fields)
        left = edit.size
        for content in edit.content:
            left -= len(content)
            for at in range(0, len(content), _PIECE):
                yield encode(Type.DATA, content[at : at + _PIECE])
        if left:
            raise ValueError(f"the content of {edit.path!r} is not {edit.size} bytes")
    yield encode(Type.COMMIT)
