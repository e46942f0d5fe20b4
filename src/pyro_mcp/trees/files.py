"""Single files of a tree: listed, read, written."""

from __future__ import annotations

import base64
import codecs
import os
from collections.abc import Mapping

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.results import ArtifactType, FileEntry, FileList, FileRead, FileWrite
from pyro_mcp.trees.edits import Edit
from pyro_mcp.trees.stream import Entry, Kind
from pyro_mcp.trees.tree import Tree, guest_path

MOST_READ = 64 * 1024 * 1024
"""Bytes that one read may ask for."""
ARTIFACT_TYPES: Mapping[Kind, ArtifactType] = {
    "f": "file", "d": "directory", "l": "symlink", "p": "fifo", "s": "socket", "c": "char_device", "b": "block_device",
}  # fmt: skip
NOUNS: Mapping[Kind, str] = {
    "f": "a file", "d": "a folder", "l": "a link", "p": "a pipe", "s": "a socket", "c": "a device", "b": "a device",
}  # fmt: skip


def list_files(tree: Tree, path: str | bytes, *, recursive: bool) -> FileList:
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


def read_file(tree: Tree, path: str | bytes, *, max_bytes: int, binary: bool = False) -> FileRead:
    """The first `max_bytes` of a regular file, links followed: as text, or with `binary` as base64.

    Text is UTF-8 without NUL; a character that `max_bytes` cuts in two is left out. Raises `NotFound`, and
    `InvalidRequest` for what is no regular file or no text.
    """
    if not 1 <= max_bytes <= MOST_READ:
        raise InvalidRequest(
            f"max_bytes is {max_bytes}, not 1 to {MOST_READ}", hint="'pyro workspace export' copies files of any size"
        )
    inner = tree.inner_path(path)
    entry, data = tree.contents([inner], max_bytes, follow=True)[inner]
    name = tree.guest_path(inner)
    if entry.kind != "f":
        raise InvalidRequest(f"{name} is {NOUNS[entry.kind]}, not a regular file", hint=_instead(entry))
    truncated = entry.size > len(data)
    content = base64.b64encode(data).decode() if binary else _text(name, data, truncated=truncated)
    return {
        "path": name,
        "size_bytes": entry.size,
        "max_bytes": max_bytes,
        "truncated": truncated,
        "encoding": "base64" if binary else "utf-8",
        "content": content,
    }


def write_file(tree: Tree, path: str | bytes, data: bytes) -> FileWrite:
    """Create or replace a regular file; it appears whole, an existing one keeps its mode, missing folders are made.

    A link that stays inside is written through. Raises `InvalidRequest` where a folder stands, or a link leads out.
    """
    inner = tree.inner_path(path)
    if not inner:
        raise InvalidRequest(f"{guest_path(inner)} is a folder", hint="give the path of a file in it")
    (made,) = tree.apply([Edit(inner, "f", size=len(data), content=[data])])
    return {"path": guest_path(inner), "bytes_written": len(data), "replaced": made.replaced}


def _shown(entry: Entry, path: str) -> FileEntry:
    return {
        "path": path,
        "artifact_type": ARTIFACT_TYPES[entry.kind],
        "size_bytes": entry.size,
        "mode": f"{entry.mode:04o}",
        "modified_at": entry.mtime_ns / 1e9,
        "link_target": os.fsdecode(entry.target) if entry.kind == "l" else None,
    }


def _text(name: str, data: bytes, *, truncated: bool) -> str:
    hint = "--base64 gives its bytes, 'pyro workspace export' copies it to the host"
    if b"\0" in data:
        raise InvalidRequest(f"{name} is a binary file, not text: it holds NUL bytes", hint=hint)
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(data, final=not truncated)
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name} is not text in UTF-8: {error.reason} at byte {error.start}", hint=hint) from error


def _instead(entry: Entry) -> str:
    return "'pyro workspace file list' shows what is in it" if entry.kind == "d" else ""
