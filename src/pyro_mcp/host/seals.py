"""Sealed folders: finished folders with a list of their files' digests, by which damage is found.

`seal` writes the digest of every file to `seal.json` in the folder, `damaged` compares. A file with the same size,
times and inode as at the last comparison (`trusted.json`) is not read again, so a check costs a few `stat` calls.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from pyro_mcp.errors import PyroError
from pyro_mcp.host.files import write_atomic

SEAL, _TRUSTED = "seal.json", "trusted.json"
_BLOCK = 1024 * 1024


def seal(folder: Path) -> None:
    """Write the digests of all files below `folder` into it. Raises `OSError`."""
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    digests = {name: _digest(folder / name) for name in names if name not in (SEAL, _TRUSTED)}
    (folder / _TRUSTED).write_text(json.dumps({name: _stamp(folder / name) for name in digests}))
    (folder / SEAL).write_text(json.dumps(digests))


def damaged(folder: Path) -> list[str]:
    """Return the relative names of the files that are missing or whose content has changed since `seal`.

    The list is `["seal.json"]` when the seal itself is missing or cannot be read.
    """
    try:
        digests = {str(name): str(digest) for name, digest in json.loads((folder / SEAL).read_bytes()).items()}
    except (OSError, ValueError, AttributeError):
        return [SEAL]
    trusted, found, wrong = _trusted(folder), {}, []
    for name, digest in digests.items():
        try:
            stamp = _stamp(folder / name)
            if trusted.get(name) != stamp and _digest(folder / name) != digest:
                wrong.append(name)
            else:
                found[name] = stamp
        except OSError:
            wrong.append(name)
    if found != trusted:
        with suppress(OSError, PyroError):  # without it, the next call reads the files again
            write_atomic(folder / _TRUSTED, json.dumps(found))
    return wrong


def intact(folder: Path, is_complete: Callable[[], bool]) -> bool:
    """Return whether no file in `folder` is damaged.

    A folder without a seal was made by an earlier version: it is sealed now if `is_complete` returns True, else it
    counts as damaged.
    """
    if folder.is_dir() and not (folder / SEAL).exists() and is_complete():
        with suppress(OSError):
            seal(folder)
    return not damaged(folder)


def _stamp(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _trusted(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / _TRUSTED).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _digest(path: Path) -> str:
    """Return a digest of the size and of every block that is not all zero, so that holes need not be read."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        total.update(b"%d" % size)
        for offset in _blocks(file.fileno(), size):
            block = os.pread(file.fileno(), _BLOCK, offset)
            if block.strip(b"\0"):
                total.update(b" %d " % offset)
                total.update(block)
    return total.hexdigest()


def _blocks(fd: int, size: int) -> Iterator[int]:
    """Yield the offsets of the blocks of an open file that are not holes."""
    offset = 0
    while offset < size:
        try:
            offset = os.lseek(fd, offset, os.SEEK_DATA) // _BLOCK * _BLOCK
        except OSError:  # ENXIO: a hole up to the end
            return
        yield offset
        offset += _BLOCK
