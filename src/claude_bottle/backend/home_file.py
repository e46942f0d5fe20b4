"""A file from the home of a bottle's user. The guest wrote it, so it may be of any kind and size."""

from __future__ import annotations

import io
import tarfile
from typing import Protocol

from claude_bottle.backend.interface import Outcome
from claude_bottle.errors import BottleFailed

_NOT_THERE, _NOT_REGULAR = 3, 4
_READ = f"""
if [ -f "$HOME/$1" ] && [ ! -L "$HOME/$1" ]; then exec head -c "$2" "$HOME/$1"; fi
if [ -e "$HOME/$1" ] || [ -L "$HOME/$1" ]; then exit {_NOT_REGULAR}; fi
exit {_NOT_THERE}
"""


class _Execute(Protocol):
    def __call__(self, argv: list[str], *, deadline_seconds: float) -> Outcome: ...


def read_home(execute: _Execute, path: str, most: int, deadline_seconds: float) -> bytes | None:
    """Return a file by way of a program in the bottle, as `Bottle.read_home` describes; `execute` runs that program."""
    done = execute(["/bin/sh", "-c", _READ, "sh", path, str(most + 1)], deadline_seconds=deadline_seconds)
    if done.exit_code == _NOT_THERE:
        return None
    if done.exit_code != 0:
        raise _not_regular(path)
    return _bounded(done.stdout, path, most)


def packed_file(archive: bytes, path: str, most: int) -> bytes:
    """Return the only file of a tar archive. Raises `BottleFailed`."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as packed:
            entry = packed.next()
            if entry is None or not entry.isreg() or entry.issparse() or entry.size > most:
                raise _not_regular(path) if entry is None or entry.size <= most else _too_large(path, most)
            file = packed.extractfile(entry)
            return b"" if file is None else file.read()
    except (tarfile.TarError, EOFError) as error:
        raise BottleFailed(f"~/{path} cannot be read: {error}") from error


def _bounded(content: bytes, path: str, most: int) -> bytes:
    if len(content) > most:
        raise _too_large(path, most)
    return content


def _too_large(path: str, most: int) -> BottleFailed:
    return BottleFailed(f"~/{path} is larger than {most // 1024} KiB")


def _not_regular(path: str) -> BottleFailed:
    return BottleFailed(f"~/{path} is not a regular file, or cannot be read")
