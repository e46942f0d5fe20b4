"""The writable disk of a running machine, over its monitor: merge layers, switch to a new one, resume when it was full.

`qemu-storage-daemon` has the same monitor as QEMU, so this works for every machine with a guest.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from collections.abc import Sequence
from contextlib import suppress

from pyro_mcp.engine.disks import MOST_LAYERS, DiskLayers
from pyro_mcp.engine.freeze import while_frozen
from pyro_mcp.engine.guest_connection import GuestConnection
from pyro_mcp.engine.qemu import command_line, layer_merge
from pyro_mcp.engine.qemu.command_line import layer_node
from pyro_mcp.engine.qemu.qmp import monitor
from pyro_mcp.engine.sockets import MachineSockets
from pyro_mcp.errors import DeadlineExceeded, GuestFailed, NoSpace
from pyro_mcp.hints import Hint, Verb

_ROOM_BYTES = 8 * 1024**2
_MERGE_DEADLINE = 300.0
_QUESTION_DEADLINE = 1.0
_LOCK = struct.Struct("hhqqi4x")  # struct flock of fcntl(2)


def merge_layers(files: DiskLayers, sockets: MachineSockets, layers: Sequence[str]) -> None:
    """Merge layers now if the machine uses `MOST_LAYERS` or more; see `Engine.merge_layers`. Raises `NoSpace`."""
    with monitor(sockets.monitor, deadline_seconds=_MERGE_DEADLINE) as qmp:
        in_use = layer_merge.finish_merge(qmp, layers, wait=True)
        if len(in_use) >= MOST_LAYERS and _fits(files, sizes := files.sizes(in_use[:-1])):
            layer_merge.start_merge(qmp, in_use, sizes, wait=True)
            in_use = layer_merge.finish_merge(qmp, in_use, wait=True)
    if len(in_use) >= MOST_LAYERS:
        raise NoSpace(
            "the layers of the machine's disk could not be merged",
            hint=Hint("free some space where the state folder is ({} shows it), then try again", Verb("doctor")),
        )


def switch_layer(
    files: DiskLayers, sockets: MachineSockets, guest: GuestConnection, layers: Sequence[str], name: str
) -> tuple[str, ...]:
    """Freeze the disk as it is now and let the machine write to the layer `name`; see `Engine.switch_layer`."""
    with monitor(sockets.monitor, deadline_seconds=60) as qmp:
        frozen = layer_merge.finish_merge(qmp, layers, wait=False)
        qmp.execute("blockdev-add", **layer_node(name, f"{command_line.LIVE}/{name}"), backing=None)
        # This also flushes the layer that was written, so what was merged into it is on the disk.
        while_frozen(guest, lambda: qmp.execute("blockdev-snapshot", node=frozen[-1], overlay=name))
        if len(frozen) > layer_merge.MERGE_ABOVE and _fits(files, sizes := files.sizes(frozen)):
            with suppress(GuestFailed):  # the next snapshot tries again
                layer_merge.start_merge(qmp, (*frozen, name), sizes)
    return frozen


def resume_if_full(sockets: MachineSockets) -> bool:
    """Resume a machine that cannot write its disk because the host's is full; return whether it was paused.

    Raises `NoSpace` while the disk is full. With little space the machine stays paused: it would use up the space
    that is needed to inspect and delete machines. QEMU pauses a machine; the writes of `qemu-storage-daemon` wait, and
    continue by themselves.
    """
    # The layers of its disk are on the same file system as the sockets.
    has_room = shutil.disk_usage(sockets.folder).free >= _ROOM_BYTES
    if _waits_for_space(sockets):
        if has_room:
            return True
        raise _full()
    try:
        with monitor(sockets.monitor, deadline_seconds=_QUESTION_DEADLINE) as qmp:
            if qmp.execute("query-status")["status"] != "io-error":
                return False
            if has_room:
                qmp.execute("cont")
                return True
    except (DeadlineExceeded, GuestFailed):
        return False  # another client uses the monitor, or it has no such request; the caller has a deadline
    raise _full()


def _waits_for_space(sockets: MachineSockets) -> bool:
    """Return whether a write of `qemu-storage-daemon` waits for space: then it holds a lock."""
    try:
        waiting = os.open(sockets.waiting, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:  # QEMU has none
        return False
    try:
        found = fcntl.fcntl(waiting, fcntl.F_OFD_GETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(waiting)
    return bool(_LOCK.unpack(found)[0] != fcntl.F_UNLCK)


def _full() -> NoSpace:
    return NoSpace(
        "the host's disk is full, so the machine was paused in the middle of a write",
        hint=Hint(
            "free some space where the state folder is ({} shows it); the next command resumes it", Verb("doctor")
        ),
    )


def _fits(files: DiskLayers, sizes: Sequence[int]) -> bool:
    """Return whether there is enough space to merge layers of these sizes."""
    return files.has_space(sum(sizes[layer_merge.lowest_to_merge(sizes) :]))
