"""The Unix sockets of a machine: their paths, and how to connect to one."""

from __future__ import annotations

import math
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from pyro_mcp.errors import GuestGone
from pyro_mcp.guest_protocol.frames import SLOTS
from pyro_mcp.host.sockets import connect


@dataclass(frozen=True)
class MachineSockets:
    """The Unix sockets of a machine, all in one folder."""

    folder: Path

    @property
    def monitor(self) -> Path:
        return self.folder / "monitor"

    @property
    def life(self) -> Path:
        """Return the socket that is open while any process of the machine lives; nothing answers on it."""
        return self.folder / "life"

    @property
    def group(self) -> Path:
        """Return the file that holds the folder of the machine's control group; missing when it has none."""
        return self.folder / "group"

    @property
    def waiting(self) -> Path:
        """Return the file on which `cage/wait_for_space.c` holds a lock while a write waits for space on the host."""
        return self.folder / "waiting"

    @property
    def all(self) -> list[Path]:
        return [self.life, self.monitor, *(self.folder / str(slot) for slot in range(SLOTS))]


def dial(connection: socket.socket, path: Path, deadline_seconds: float) -> None:
    """Connect; raises `BlockingIOError` when nobody takes it in time (whole seconds), `GuestGone` when nothing listens.

    It does not use `settimeout`: QEMU lets one client wait, and a non-blocking connect of the next would fail at once.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", math.ceil(deadline_seconds), 0))
    try:
        connect(connection, path)
    except BlockingIOError:
        raise
    except OSError as error:
        raise GuestGone("the virtual machine is not running") from error
