"""Single files of a tree: listed, read, written."""

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

MOST_READ = 64 * 1024 * 1024
"""Bytes that one read may ask for."""
ARTIFACT_TYPES: Mapping[Kind, ArtifactType] = {
    "f": "file", "d": "directory", "l": "symlink", "p": "fifo", "s": "socket", "c": "char_device", "b": "block_device",
}  # fmt: skip
NOUNS: Mapping[Kind, str] = {
    "f": "a file", "d": "a folder", "l": "a link", "p": "a pipe", "s": "a socket", "c": "a device", "b": "a device",
}  # fmt: skip


def list_files(tree: GuestTree, path: str | bytes, *, recursive: bool) -> FileList:
    """What is in a folder, or the one thing at `path`; raises `NotFound`, `InvalidRequest`."""
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
    """Hides what nobody may read; `reach` is the number of bytes in which that has ended for sure."""

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
    """Read at most `max_bytes` of a regular file from byte `offset` on, links followed: text, or base64 with `binary`.

    Text is UTF-8 without NUL. A character or a secret that the end cuts in two is left for the next read, which begins
    at `next_offset`. Raises `NotFound`, and `InvalidRequest` for what is no regular file or no text.
    """
    if not 1 <= max_bytes <= MOST_READ or not 0 <= offset < 1 << 62:
        raise InvalidRequest(
            f"max_bytes {max_bytes} and offset {offset} are not 1 to {MOST_READ} and 0 or more",
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
        raise InvalidRequest(f"max_bytes {max_bytes} does not hold the character at {first}", hint="use 4 or more")
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
    """Create or replace a regular file; it appears whole, an existing one keeps its mode, missing folders are made.

    A link that stays inside is written through. Raises `InvalidRequest` where a folder stands, or a link leads out.
    """
    inner = tree.inner_path(path)
    if not inner:
        raise InvalidRequest(f"{guest_path(inner)} is a folder", hint="give the path of a file in it")
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
    """How many bytes at the beginning belong to a character that began before."""
    return next((place for place, byte in enumerate(data[:3]) if byte & 0xC0 != 0x80), min(len(data), 3))


def _text(name: str, data: bytes, place: int, *, is_last: bool) -> tuple[str, int]:
    """The text, and how many bytes at the end only begin a character."""
    hint = Hint.joined(
        Hint("{} returns its bytes", Argument("base64", True)),
        Hint("{} copies it to the host", Verb("workspace export")),
    )
    if b"\0" in data:
        raise InvalidRequest(f"{name} is a binary file, not text: it holds NUL bytes", hint=hint)
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        return decoder.decode(data, final=is_last), len(decoder.getstate()[0])
    except UnicodeDecodeError as error:
        at = place + error.start
        raise InvalidRequest(f"{name} is not text in UTF-8: {error.reason} at byte {at}", hint=hint) from error


def _instead(tree: GuestTree, entry: TreeEntry) -> str:
    return Hint("{} shows the files in it", tree.listing) if entry.kind == "d" else ""
