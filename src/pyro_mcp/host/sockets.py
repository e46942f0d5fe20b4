"""Unix sockets in folders of any depth.

The kernel limits a socket's path to 107 bytes (`sun_path`, unix(7)), so the path goes through the open folder.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def bind(listener: socket.socket, path: Path) -> None:
    """Bind a Unix socket to `path`; a file that is there is removed first. Raises `OSError`."""
    path.unlink(missing_ok=True)
    with _short(path) as name:
        listener.bind(name)


def connect(connection: socket.socket, path: Path) -> None:
    """Connect to the Unix socket at `path`. Raises `OSError`, also when its folder does not exist."""
    with _short(path) as name:
        connection.connect(name)


@contextmanager
def _short(path: Path) -> Iterator[str]:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
