"""The socket file of a project's tmux server, which tmux leaves in /tmp/tmux-UID when the server has ended.

python -P -m moot.agents.tmux_socket moot-0123456789ab      remove it, in a container

A tmux that starts a server holds a lock on `SOCKET.lock` until the server listens (`client_get_lock` in its client.c).
The file is removed under the same lock, so the socket of a server that starts now stays.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pyro_mcp.host.files import locked

_END_SECONDS = 5.0
_LOCK_SECONDS = 5.0
_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7)


def remove_dead_socket(name: str) -> bool:
    """Remove the socket file of that name if no server listens there; return whether there was such a file.

    A server whose last session has just ended may take a moment to end; this waits for it, at most 5 s.
    """
    path = Path(f"/tmp/tmux-{os.geteuid()}", name)
    if not _own_folder(path.parent) or not path.is_socket():
        return False
    if server := _server(path):
        _wait_for_end(server)
    lock = path.with_name(f"{path.name}.lock")
    with locked(lock, deadline_seconds=_LOCK_SECONDS, what="the tmux server of the project"):
        try:
            if _server(path) is not None:
                return False
            path.unlink(missing_ok=True)
        finally:
            lock.unlink(missing_ok=True)
    return True


def _own_folder(folder: Path) -> bool:
    """Return whether the folder is this user's: anybody can make one in /tmp."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o002


def _server(path: Path) -> int | None:
    """Return the process that listens on a socket; None when nobody does."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        found = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(found)[0])


def _wait_for_end(pid: int) -> None:
    with suppress(ProcessLookupError):
        watched = os.pidfd_open(pid)
        try:
            select.select([watched], [], [], _END_SECONDS)
        finally:
            os.close(watched)


def main(arguments: Sequence[str]) -> int:
    """Remove the socket file of the name `arguments[0]`."""
    remove_dead_socket(arguments[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
