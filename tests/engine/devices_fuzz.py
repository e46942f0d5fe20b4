"""Feed `pyro-devices` what a hostile kernel may send: `python -m tests.engine.devices_fuzz PROGRAM SEED SECONDS`.

Each run is a set-up as a driver makes it, then operations of which some are broken: requests, rings, descriptors,
memory that changes or shrinks under the program, and clients that come and go. PROGRAM is built with sanitizers.
Prints a JSON object that counts how the runs ended; a run that ended by a mistake of the program is printed in full.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.engine.front_end import ENTRIES, MEMORY, PORT_OPEN, FrontEnd, Queue

PORTS = 3
OPERATIONS = 150
_REQUESTS = (*range(41), 0xFFFFFFFF)
_NUMBERS = (0, 1, 2, 3, 15, 63, 64, 255, 256, 257, 4096, 0x7FFF, 0x8000, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1)
_LARGE = (MEMORY - 1, MEMORY, MEMORY + 1, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 4096)
# linux/if_tun.h: a tap, no packet information, virtio headers; linux/sockios.h
_TAP, _SET_DEVICE, _SET_FLAGS = 0x0002 | 0x1000 | 0x4000, 0x400454CA, 0x8914
_EXPECTED = (0, 1)
_BUS_ERROR = -7


class Run:
    """One run of the program, with the kernel's side and a client of each port."""

    def __init__(self, program: str, seed: int, tap: int, stack: ExitStack) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a run can be repeated
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fuzz-")))
        listeners = []
        for name in ("kernel", *map(str, range(PORTS)), "network"):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(folder / name))
            listener.listen()
            listeners.append(listener.fileno())
        words = [program, f"ports={','.join(map(str, listeners[:-1]))}"]
        fds = listeners
        if tap >= 0:
            words, fds = [*words, f"network={listeners[-1]},{tap}"], [*listeners, tap]
        environ = {"ASAN_OPTIONS": "handle_sigbus=0:detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"}
        self.process = subprocess.Popen(
            words, pass_fds=fds, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environ
        )
        stack.callback(self.process.communicate)
        stack.callback(self.process.kill)
        self.kernels = [self._kernel(folder / name, stack) for name in ("kernel", *(["network"] if tap >= 0 else []))]
        self.clients: list[socket.socket] = []
        self.folder, self.stack = folder, stack
        self.queues: dict[int, list[Queue]] = {}
        self.shrunk = False

    def _kernel(self, path: Path, stack: ExitStack) -> FrontEnd:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(path))
        kernel = FrontEnd(connection)
        connection.settimeout(1)
        stack.callback(kernel.close)
        return kernel

    def story(self) -> None:
        """Set up as a driver does, then do anything; ends early when the program has."""
        with suppress(OSError, struct.error):  # the program has ended; in the midst of an answer
            for kernel in self.kernels:
                count = self.random.randrange(1, 8) if kernel is self.kernels[0] else 2
                self.queues[id(kernel)] = [kernel.queue(index) for index in range(count)]
            for port in range(PORTS):
                self.tell(struct.pack("<IHH", port, PORT_OPEN, 1))
            for _ in range(OPERATIONS):
                kernel = self.random.choice(self.kernels)
                self.random.choices(
                    (self.offer, self.control, self.scribble, self.request, self.client, self.wait),
                    weights=(60, 10, 4, 4, 40, 30),
                )[0](kernel)
            if self.random.random() < 0.2:
                self.shrink()

    def number(self) -> int:
        return self.random.choice((*_NUMBERS, *_LARGE, self.random.randrange(2**16), self.random.randrange(2**32)))

    def offer(self, kernel: FrontEnd) -> None:
        queue = self.random.choice(self.queues[id(kernel)])
        reads = queue.index % 2
        broken = self.random.random() < 0.03
        for _ in range(self.random.randrange(1, 70)):
            place, size = self.random.randrange(MEMORY - 5000), self.random.randrange(5000)
            if broken:
                place, size = self.number() % 2**64, self.number() % 2**32
            flags, following = 0 if reads else 2, (queue.offered - 1) % ENTRIES
            if broken:
                flags, following = self.random.randrange(8), self.number() % 2**16
            elif queue.offered and self.random.random() < 0.2:
                flags |= 1
            kernel.offer(queue, place, size, flags, following)
        kernel.kick(queue)

    def control(self, kernel: FrontEnd) -> None:
        if kernel is self.kernels[0] and len(self.queues[id(kernel)]) > 3:
            ports, words = (0, 1, 2, 3, 15, 16, 2**32 - 1), (0, 1, 3, 6, 7)
            self.tell(struct.pack("<IHH", self.random.choice(ports), *self.random.choices(words, k=2)))

    def tell(self, event: bytes) -> None:
        """Send a control message, if the queue for them is among those that were set up."""
        kernel = self.kernels[0]
        for queue in self.queues[id(kernel)][3:4]:
            place = MEMORY - 1024 + self.random.randrange(100) * 8
            kernel.memory[place : place + 8] = event
            kernel.offer(queue, place, 8, 0)
            kernel.kick(queue)

    def wait(self, kernel: FrontEnd) -> None:
        """Wait until the program has handled all that was sent."""
        kernel.ask(1)

    def scribble(self, kernel: FrontEnd) -> None:
        for _ in range(self.random.randrange(1, 50)):
            place = self.random.randrange(4096, 4096 + 16384 * 2)
            kernel.memory[place] = self.random.choice((0, 1, 2, 255, self.random.randrange(256)))

    def request(self, kernel: FrontEnd) -> None:
        payload = b"".join(struct.pack("<Q", self.number() % 2**64) for _ in range(self.random.randrange(9)))
        payload = payload[: self.random.choice((len(payload), 8, 12, 40))]
        size = len(payload) if self.random.random() < 0.9 else self.number() % 2**32
        flags = self.random.choice((1, 1, 1, 9, self.number() % 2**32))
        head = struct.pack("<III", self.random.choice(_REQUESTS), flags, size)
        count = self.random.choice((0, 0, 1, 1, 2, 4, 9))
        fds = self.random.choices((kernel.file, kernel.connection.fileno(), 2), k=count)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        kernel.connection.sendmsg([head + payload], rights)

    def client(self, kernel: FrontEnd) -> None:
        what = self.random.randrange(4)
        if what == 0 or not self.clients:
            client = self.stack.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            client.connect(str(self.folder / str(self.random.randrange(PORTS))))
            self.clients.append(client)
        elif what == 1:
            self.clients.pop(self.random.randrange(len(self.clients))).close()
        else:
            with suppress(BlockingIOError, BrokenPipeError, ConnectionError):
                client = self.random.choice(self.clients)
                client.send(self.random.randbytes(self.random.randrange(1, 9000))) if what == 2 else client.recv(5000)

    def shrink(self) -> None:
        """Take the memory back that was lent; from here on we cannot touch it either."""
        self.shrunk = True
        for kernel in self.kernels:
            os.ftruncate(kernel.file, self.random.choice((0, 4096, MEMORY // 2)))
            for queue in self.queues[id(kernel)]:
                kernel.kick(queue)

    def fault(self) -> str:
        """Return what is wrong with the end of the program, empty when nothing is."""
        for kernel in self.kernels:
            kernel.connection.close()
        try:
            said = self.process.communicate(timeout=20)[1].decode(errors="replace")
        except subprocess.TimeoutExpired:
            return "it goes on without a kernel"
        fine = self.process.returncode in _EXPECTED or (self.shrunk and self.process.returncode == _BUS_ERROR)
        spoke = self.process.returncode != 1 or said.startswith("pyro-devices: ")
        return "" if fine and spoke and "Sanitizer" not in said and "runtime error" not in said else said or "it died"


def open_tap() -> int:
    """Return a tap device of this network namespace, -1 where there can be none."""
    with suppress(OSError):
        tap = os.open("/dev/net/tun", os.O_RDWR)
        name = fcntl.ioctl(tap, _SET_DEVICE, struct.pack("16sH22x", b"fuzz%d", _TAP))[:16]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:  # it is up: the host's kernel sends by it
            fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH22x", name, 1))
        return tap
    return -1


def main() -> None:
    program, seed, end = sys.argv[1], int(sys.argv[2]), time.monotonic() + float(sys.argv[3])
    counts: Counter[str] = Counter()
    while time.monotonic() < end:
        tap = open_tap()
        with ExitStack() as stack:
            run = Run(program, seed, tap, stack)
            watchdog = threading.Timer(30, run.process.kill)
            stack.callback(watchdog.cancel)
            watchdog.start()
            run.story()
            if fault := run.fault():
                print(json.dumps({"seed": seed, "code": run.process.returncode, "fault": fault}))  # noqa: T201
                return
            counts[str(run.process.returncode)] += 1
            counts["with a network"] += tap >= 0
        if tap >= 0:
            os.close(tap)
        seed += 1
    print(json.dumps(counts))  # noqa: T201


if __name__ == "__main__":
    main()
