"""The slots of a machine: a fixed number of connections, each for one client at a time under a file lock."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pyro_mcp.engine.guest_connection import UNRESPONSIVE, GuestConnection
from pyro_mcp.engine.sockets import dial
from pyro_mcp.errors import Busy, DeadlineExceeded, GuestGone
from pyro_mcp.guest_protocol import frames
from pyro_mcp.host.queue import wait_in_turn

_RESERVED = 2
"""Slots that commands leave free for short requests: files, shells, snapshots, power off."""


@contextmanager
def connected(
    sockets: Path,
    *,
    deadline_seconds: float = 10.0,
    long_running: bool = False,
    on_silence: Callable[[], bool] = lambda: False,
) -> Iterator[GuestConnection]:
    """Take a free slot of the machine whose sockets are in `sockets`, for as long as the block runs.

    Those who wait are served in the order in which they came. A `long_running` connection, one for a command, leaves
    some slots to other work. `on_silence` is called when the guest says nothing for a while, at least every two
    seconds; it returns whether it has helped the guest to go on.

    Raises `Busy` when all slots stay taken for `deadline_seconds`, `DeadlineExceeded` when the machine takes no
    connection for so long, `GuestGone` when nothing listens.
    """
    slot = _take_slot(sockets, deadline_seconds, long_running=long_running)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            try:
                dial(connection, sockets / str(slot.number), deadline_seconds)
            except BlockingIOError as error:  # QEMU has not even seen that earlier clients left
                silence = f"the virtual machine has taken no connection for {deadline_seconds:g} s"
                raise DeadlineExceeded(silence, hint=UNRESPONSIVE) from error
            guest = GuestConnection(connection, slot=slot.lock, resync=not slot.begin(), on_silence=on_silence)
            yield guest
        if not guest.is_detached:
            slot.end()
    finally:
        slot.close()


@dataclass(frozen=True)
class _Slot:
    """A slot that is ours: its file, opened once to hold the lock and once to note who has it.

    The first byte tells the next client whether this one left in the middle of something ("1"); after that comes the
    number of our process.
    """

    number: int
    lock: int
    note: int

    def begin(self) -> bool:
        """Mark the slot as in the middle of a request; return whether the last client had ended cleanly."""
        clean = os.pread(self.note, 1, 0) in (b"", b"0")
        self._write(f"1{os.getpid()}")
        return clean

    def end(self) -> None:
        self._write("0")

    def _write(self, text: str) -> None:
        os.pwrite(self.note, text.encode(), 0)
        os.ftruncate(self.note, len(text))

    def close(self) -> None:
        """Release the slot. Waiters wake at the close of the file that was written, when the lock is free already."""
        os.close(self.lock)
        os.close(self.note)


def _take_slot(sockets: Path, deadline_seconds: float, *, long_running: bool) -> _Slot:
    usable, queue = (frames.SLOTS - _RESERVED, "lasting") if long_running else (frames.SLOTS, "short")
    try:
        slot = wait_in_turn(sockets, queue, partial(_free_slot, sockets, range(usable)), deadline_seconds)
    except FileNotFoundError as error:
        raise GuestGone("the virtual machine is not running") from error
    if slot is not None:
        return slot
    what = f"all {usable} connections {'for commands to' if long_running else 'to'} this machine"
    raise Busy(
        f"{what} stayed in use for {deadline_seconds:g} s{_holders(sockets)}",
        hint="commands run in them: wait for one to end, or run them as services",
    )


def _free_slot(sockets: Path, usable: range) -> _Slot | None:
    for number in usable:
        path = sockets / f"{number}.lock"
        # Opened read-only: the close of a file opened for writing wakes all waiters.
        lock = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _Slot(number, lock, os.open(path, os.O_RDWR | os.O_CLOEXEC))
        except BlockingIOError:
            os.close(lock)
        except BaseException:
            os.close(lock)
            raise
    return None


def _holders(sockets: Path) -> str:
    """Return the end of a sentence that names the processes that hold the slots, "" when none is known."""
    notes = [path.read_bytes()[1:].decode("ascii", "replace") for path in sorted(sockets.glob("*.lock"))]
    found = sorted({int(note) for note in notes if note.isdigit()})
    if not found:
        return ""
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return f", by {'process' if len(found) == 1 else 'processes'} {', '.join(map(str, found[:8]))}{more}"
