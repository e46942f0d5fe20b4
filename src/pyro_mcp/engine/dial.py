"""Connecting to the sockets that QEMU listens on."""

from __future__ import annotations

import math
import socket
import struct
from pathlib import Path

from pyro_mcp.errors import GuestGone
from pyro_mcp.host.sockets import connect


def dial(connection: socket.socket, path: Path, deadline_seconds: float) -> None:
    """Connect; raises `BlockingIOError` when nobody takes it in time (whole seconds), `GuestGone` when nothing listens.

    Not by `settimeout`: QEMU lets one client wait, and without blocking the next would be told that at once.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", math.ceil(deadline_seconds), 0))
    try:
        connect(connection, path)
    except BlockingIOError:
        raise
    except OSError as error:
        raise GuestGone("the virtual machine is not running") from error
