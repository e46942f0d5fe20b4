"""The connections to a machine: a fixed number of slots, each for one client at a time, which the kernel sees to."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pyro_mcp.engine import wire
from pyro_mcp.engine.dial import dial
from pyro_mcp.engine.guest import Guest
from pyro_mcp.errors import Busy, GuestGone


@contextmanager
def connected(
    sockets: Path, *, deadline_seconds: float = 10.0, on_silence: Callable[[], None] = lambda: None
) -> Iterator[Guest]:
    """Take a free slot of the machine whose sockets are in `sockets`, for as long as the block runs.

    `on_silence` is called every two seconds that the guest says nothing while it is waited for.

    Raises `Busy` when all slots stay taken for `deadline_seconds`, `GuestGone` when nothing listens.
    """
    lock = _take_slot(sockets, time.monotonic() + deadline_seconds)
    try:
        slot, fd = lock
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            try:
                dial(connection, sockets / str(slot), deadline_seconds)
            except BlockingIOError as error:  # earlier clients have left, and QEMU has not seen it yet
                raise Busy("the virtual machine takes no connection", hint="try again in a moment") from error
            # The byte tells the slot's next client whether this one left in the middle of something.
            left_cleanly = os.pread(fd, 1, 0) in (b"", b"0")
            os.pwrite(fd, b"1", 0)
            guest = Guest(connection, slot=fd, resync=not left_cleanly, on_silence=on_silence)
            yield guest
        if not guest.goes_on:
            os.pwrite(fd, b"0", 0)
    finally:
        os.close(lock[1])


def _take_slot(sockets: Path, end: float) -> tuple[int, int]:
    """A free slot's number and the descriptor that holds its lock."""
    pause = 0.001
    while True:
        for slot in range(wire.SLOTS):
            try:
                fd = os.open(sockets / f"{slot}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError as error:
                raise GuestGone("the virtual machine is not running") from error
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return slot, fd
            except BlockingIOError:
                os.close(fd)
        if time.monotonic() >= end:
            raise Busy(
                f"all {wire.SLOTS} connections to this machine are in use",
                hint="commands run in all of them: wait for one to end, or run them as services",
            )
        with suppress(InterruptedError):
            time.sleep(pause)
        pause = min(pause * 2, 0.05)
