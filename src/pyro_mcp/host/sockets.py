"""Unix sockets in folders of any depth.

The kernel bounds a socket's path to 107 bytes (`sun_path`, unix(7)), so it is reached from its open folder.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def bind(listener: socket.socket, path: Path) -> None:
    """Give a Unix socket its path, in place of what is there; raises `OSError`."""
    path.unlink(missing_ok=True)
    with _short(path) as name:
        listener.bind(name)


def connect(connection: socket.socket, path: Path) -> None:
    """Connect to the Unix socket at `path`; raises `OSError`, also when its folder is not there."""
    with _short(path) as name:
        connection.connect(name)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
