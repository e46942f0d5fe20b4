"""List, read and write single files of a tree."""

from __future__ import annotations

import base64
import codecs
import os
from collections.abc import Mapping
from typing import Protocol

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.guest_protocol.tree_edits import Edit
from pyro_mcp.guest_protocol.tree_stream import Kind, TreeEntry
from pyro_mcp.hints import Argument, Hint, Verb
from pyro_mcp.results import ArtifactType, FileEntry, FileList, FileRead, FileWrite
from pyro_mcp.trees.guest_tree import GuestTree, guest_path

MAX_READ = 64 * 1024 * 1024
"""Bytes that one read may request."""
ARTIFACT_TYPES: Mapping[Kind, ArtifactType] = {
    "f": "file", "d": "directory", "l": "symlink", "p": "fifo", "s": "socket", "c": "char_device", "b": "block_device",
}  # fmt: skip
NOUNS: Mapping[Kind, str] = {
    "f": "a file", "d": "a folder", "l": "a link", "p": "a pipe", "s": "a socket", "c": "a device", "b": "a device",
}  # fmt: skip


def list_files(tree: GuestTree, path: str | bytes, *, recursive: bool) -> FileList:
    """Return the entries of a folder, or the one entry at `path`; raises `NotFound`, `InvalidRequest`."""
    first, *below = tree.entries([tree.inner_path(path)], depth=None if recursive else 1)
    shown = below if first.kind == "d" else [first]
    return {
        "path": tree.guest_path(first.path),
        "artifact_type": ARTIFACT_TYPES[first.kind],
        "recursive": recursive,
        "count": len(shown),
        "entries": [_shown(entry, tree.guest_path(entry.path)) for entry in shown],
    }


class ContentMask(Protocol):
    """Masks secrets in a part of a file; `reach` is the number of bytes before and after it that a secret may span."""

    @property
    def reach(self) -> int: ...
    def between(self, data: bytes, begin: int, end: int) -> tuple[bytes, int, int]: ...


def read_file(
    tree: GuestTree,
    path: str | bytes,
    *,
    max_bytes: int,
    offset: int = 0,
    binary: bool = False,
    mask: ContentMask | None = None,
) -> FileRead:
    """Read at most `max_bytes` of a regular file from byte `offset` on: text, or base64 with `binary`. Follow links.

    Text is UTF-8 without NUL. A character or a secret that the end would cut is left to the next read, which starts at
    `next_offset`. Raises `NotFound`, and `InvalidRequest` for anything but a regular file, or for a file without text.
    """
    if not 1 <= max_bytes <= MAX_READ or not 0 <= offset < 1 << 62:
        raise InvalidRequest(
            f"max_bytes {max_bytes} and offset {offset} are not 1 to {MAX_READ} and 0 or more",
            hint=Hint("{} copies files of any size", Verb("workspace export")),
        )
    inner = tree.inner_path(path)
    reach = mask.reach if mask is not None else 0
    start = max(0, offset - reach)
    entry, data = tree.contents([inner], offset - start + max_bytes + reach, follow=True, start=start)[inner]
    name = tree.guest_path(inner)
    if entry.kind != "f":
        raise InvalidRequest(f"{name} is {NOUNS[entry.kind]}, not a regular file", hint=_instead(tree, entry))
    begin = min(offset - start, len(data))
    end = min(begin + max_bytes, len(data))
    part = data[begin:end]
    if mask is not None:
        part, begin, end = mask.between(data, begin, end)
    first, after = start + begin, start + end
    if binary:
        content = base64.b64encode(part).decode()
    else:
        whole_start = part[_cut_character(part) :] if first else part
        first += len(part) - len(whole_start)
        content, rest = _text(name, whole_start, first, is_last=after >= entry.size)
        after -= rest
    truncated = after < entry.size and bool(data)
    if truncated and not content:
        raise InvalidRequest(f"max_bytes {max_bytes} is too small for the character at {first}", hint="use 4 or more")
    return {
        "path": name,
        "size_bytes": entry.size,
        "offset": first,
        "max_bytes": max_bytes,
        "truncated": truncated,
        "next_offset": after if truncated else None,
        "encoding": "base64" if binary else "utf-8",
        "content": content,
    }


def write_file(tree: GuestTree, path: str | bytes, data: bytes) -> FileWrite:
    """Create or replace a regular file atomically. An existing file keeps its mode; missing folders are made.

    A link inside the tree is followed. Raises `InvalidRequest` when the path is a folder, or a link leaves the tree.
    """
    inner = tree.inner_path(path)
    if not inner:
        raise InvalidRequest(f"{guest_path(inner)} is a folder", hint="give the path of a file in the folder")
    (made,) = tree.apply([Edit(inner, "f", size=len(data), content=[data])])
    return {"path": guest_path(inner), "bytes_written": len(data), "replaced": made.replaced}


def _shown(entry: TreeEntry, path: str) -> FileEntry:
    return {
        "path": path,
        "artifact_type": ARTIFACT_TYPES[entry.kind],
        "size_bytes": entry.size,
        "mode": f"{entry.mode:04o}",
        "modified_at": entry.mtime_ns / 1e9,
        "link_target": os.fsdecode(entry.target) if entry.kind == "l" else None,
    }


def _cut_character(data: bytes) -> int:
    """Return how many bytes at the start belong to a character that begins before."""
    return next((index for index, byte in enumerate(data[:3]) if byte & 0xC0 != 0x80), min(len(data), 3))


def _text(name: str, data: bytes, offset: int, *, is_last: bool) -> tuple[str, int]:
    """Decode `data`; return the text, and how many bytes at the end belong to an incomplete character."""
    hint = Hint.joined(
        Hint("{} returns its bytes", Argument("binary", True)),
        Hint("{} copies it to the host", Verb("workspace export")),
    )
    if b"\0" in data:
        raise InvalidRequest(f"{name} is a binary file, not text: it holds NUL bytes", hint=hint)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        return decoder.decode(data, final=is_last), len(decoder.getstate()[0])
    except UnicodeDecodeError as error:
        at = offset + error.start
        raise InvalidRequest(f"{name} is not UTF-8 text: {error.reason} at byte {at}", hint=hint) from error


def _instead(tree: GuestTree, entry: TreeEntry) -> str:
    return Hint("{} shows the files in it", tree.listing) if entry.kind == "d" else ""
