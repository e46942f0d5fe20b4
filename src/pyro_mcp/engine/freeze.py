"""Freeze the file system of a guest for a moment."""

from __future__ import annotations

import os
from collections.abc import Callable

from pyro_mcp.engine.guest_connection import GuestConnection
from pyro_mcp.engine.interface import Command
from pyro_mcp.errors import GuestFailed

GUEST_TOOL = "/tool"
_DISK = "/disk"


def while_frozen(guest: GuestConnection, action: Callable[[], None]) -> None:
    """Flush and freeze the machine's disk, call `action`, and thaw it.

    The guest thaws by itself when this process dies or `action` raises. Raises `GuestFailed` when it cannot freeze.
    """
    reading, writing = os.pipe()
    done = False

    def act(_: bytes) -> None:
        nonlocal done
        if not done:
            done = True
            try:
                action()
            finally:
                os.close(writing)

    try:
        with open(reading, "rb") as until_closed:
            outcome = guest.run(
                Command(
                    [GUEST_TOOL, "freeze", _DISK],
                    cwd="/",
                    is_guest_program=True,
                    timeout_seconds=60,
                    stdin=until_closed,
                    on_stdout=act,
                )
            )
    finally:
        if not done:
            os.close(writing)
    if outcome.exit_code != 0 or not done:
        raise GuestFailed(f"the guest's disk could not be frozen: {outcome.stderr.decode(errors='replace').strip()}")
