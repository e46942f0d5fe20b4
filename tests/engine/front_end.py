"""The kernel's side of vhost-user, as little as `pyro-devices` needs: memory that is lent, queues, messages."""

from __future__ import annotations

import array
import mmap
import os
import socket
import struct
from dataclasses import dataclass, field

MEMORY = 1 << 20
ENTRIES = 64
DEVICE_READY, PORT_ADD, PORT_READY, PORT_OPEN, PORT_NAME = 0, 1, 3, 6, 7
_MEMORY_TABLE, _SET_NUMBER, _SET_ADDRESS, _ENABLE, _REQUESTS, _KICK = 5, 8, 9, 18, 21, 35
_WRITES = 2
_QUEUE_BYTES = 16384
_BUFFER = 4096


@dataclass
class Queue:
    """One queue: where it is in the lent memory, and how far both sides are."""

    index: int
    place: int
    offered: int = 0
    seen: int = 0
    buffers: dict[int, int] = field(default_factory=dict)


class FrontEnd:
    """A kernel that lends `MEMORY` bytes; `connection` is its end of a device's vhost-user socket."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        self.connection = connection
        self.file = os.memfd_create("lent")
        os.ftruncate(self.file, MEMORY)
        self.memory = mmap.mmap(self.file, MEMORY)
        self.requests, theirs = socket.socketpair()
        self.requests.settimeout(10)
        self._next = _BUFFER
        self.send(_REQUESTS, fds=[theirs.fileno()])
        theirs.close()
        self.send(_MEMORY_TABLE, struct.pack("<IIQQQQ", 1, 0, 0, MEMORY, 0, 0), [self.file])

    def close(self) -> None:
        """Let go of everything, as a kernel that ends does."""
        self.memory.close()
        os.close(self.file)
        self.requests.close()
        self.connection.close()

    def send(self, request: int, payload: bytes = b"", fds: list[int] | None = None) -> None:
        """Send one request."""
        message = struct.pack("<III", request, 1, len(payload)) + payload
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.connection.sendmsg([message], rights)

    def ask(self, request: int, payload: bytes = b"") -> bytes:
        """Send one request and return the payload of its answer."""
        self.send(request, payload)
        size = struct.unpack("<III", self.connection.recv(12))[2]
        return self.connection.recv(size)

    def queue(self, index: int, entries: int = ENTRIES) -> Queue:
        """Set up a queue and put it to use."""
        queue = Queue(index, self._take(_QUEUE_BYTES))
        self.send(_SET_NUMBER, struct.pack("<II", index, entries))
        parts = (queue.place, queue.place + 8192, queue.place + 4096)  # descriptors, used, available
        self.send(_SET_ADDRESS, struct.pack("<IIQQQQ", index, 0, *parts, 0))
        self.send(_ENABLE, struct.pack("<II", index, 1))
        return queue

    def lend(self, queue: Queue, count: int) -> None:
        """Offer empty buffers for the device to fill."""
        for _ in range(count):
            self.offer(queue, self._take(_BUFFER), _BUFFER, _WRITES)
        self.kick(queue)

    def write(self, queue: Queue, data: bytes) -> None:
        """Offer `data` to the device."""
        place = self._take(_BUFFER)
        self.memory[place : place + len(data)] = data
        self.offer(queue, place, len(data), 0)
        self.kick(queue)

    def offer(self, queue: Queue, place: int, size: int, flags: int, following: int = 0) -> None:
        """Put one descriptor into the ring, whatever it says."""
        slot = queue.offered % ENTRIES
        queue.buffers[slot] = place
        self.memory[queue.place + 16 * slot : queue.place + 16 * slot + 16] = struct.pack(
            "<QIHH", place, size, flags, following
        )
        at = queue.place + 4096
        self.memory[at + 4 + 2 * slot : at + 6 + 2 * slot] = struct.pack("<H", slot)
        queue.offered += 1
        self.memory[at : at + 4] = struct.pack("<HH", 0, queue.offered)

    def kick(self, queue: Queue) -> None:
        """Tell the device of what was offered."""
        self.send(_KICK, struct.pack("<II", queue.index, 0))

    def taken(self, queue: Queue) -> bytes:
        """Wait until the device gives a buffer back; what it wrote there."""
        at = queue.place + 8192
        while struct.unpack_from("<H", self.memory, at + 2)[0] == queue.seen:
            assert len(self.requests.recv(20)) == 20, "the device ended"
        slot, size = struct.unpack_from("<II", self.memory, at + 4 + 8 * (queue.seen % ENTRIES))
        queue.seen += 1
        place = queue.buffers[slot]
        return self.memory[place : place + size]

    def _take(self, size: int) -> int:
        place = self._next
        self._next += size
        return place
