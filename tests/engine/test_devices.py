"""`cage/devices.c` serves the agent's ports to a kernel, and ends when that kernel misbehaves."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyro_mcp.engine.uml.programs import DEVICES_FILE
from tests.engine.front_end import DEVICE_READY, ENTRIES, MEMORY, PORT_ADD, PORT_NAME, PORT_OPEN, PORT_READY, FrontEnd

PORTS = 3
CONTROL_IN, CONTROL_OUT = 2, 3
GET_FEATURES, GET_CONFIG = 1, 24


@dataclass
class Machine:
    """A running `pyro-devices`, the kernel's side of it, and where its clients connect."""

    process: subprocess.Popen[bytes]
    kernel: FrontEnd
    folder: Path

    def client(self, port: int) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(str(self.folder / str(port)))
        return connection

    def complaint(self) -> str:
        """Wait for the end of the program; what it said."""
        return self.process.communicate(timeout=10)[1].decode()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with ExitStack() as stack:
        listeners = []
        for name in ("kernel", *map(str, range(PORTS))):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(tmp_path / name))
            listener.listen()
            listeners.append(listener.fileno())
        words = [str(DEVICES_FILE), f"ports={','.join(map(str, listeners))}"]
        process = subprocess.Popen(words, pass_fds=listeners, stderr=subprocess.PIPE)
        stack.callback(process.communicate)
        stack.callback(process.kill)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(tmp_path / "kernel"))
        kernel = FrontEnd(connection)
        stack.callback(kernel.close)
        yield Machine(process, kernel, tmp_path)


def control(port: int, event: int, value: int) -> bytes:
    return struct.pack("<IHH", port, event, value)


def test_the_device_is_a_console_with_the_ports(machine: Machine) -> None:
    features = struct.unpack("<Q", machine.kernel.ask(GET_FEATURES))[0]
    assert features & 1 << 1, "several ports"
    assert features & 1 << 32, "VIRTIO 1"
    answer = machine.kernel.ask(GET_CONFIG, struct.pack("<III", 0, 8, 0) + bytes(8))
    assert struct.unpack("<IIIHHI", answer)[5] == PORTS


def test_every_port_is_added_and_named(machine: Machine) -> None:
    kernel = machine.kernel
    told, said = kernel.queue(CONTROL_IN), kernel.queue(CONTROL_OUT)
    kernel.lend(told, 2 * PORTS)
    kernel.write(said, control(0, DEVICE_READY, 1))
    assert [kernel.taken(told) for _ in range(PORTS)] == [control(port, PORT_ADD, 1) for port in range(PORTS)]
    kernel.write(said, control(2, PORT_READY, 1))
    assert kernel.taken(told) == control(2, PORT_NAME, 1) + b"pyro.2"


def test_a_client_and_the_guest_talk_both_ways(machine: Machine) -> None:
    kernel = machine.kernel
    told, said, reads, writes = (kernel.queue(index) for index in (CONTROL_IN, CONTROL_OUT, 4, 5))
    kernel.lend(told, 4)
    kernel.lend(reads, 2)
    kernel.write(said, control(1, PORT_OPEN, 1))
    with machine.client(1) as client:
        assert kernel.taken(told) == control(1, PORT_OPEN, 1)
        client.sendall(b"to the guest")
        assert kernel.taken(reads) == b"to the guest"
        kernel.write(writes, b"to the client")
        assert client.recv(100) == b"to the client"
    assert kernel.taken(told) == control(1, PORT_OPEN, 0)


def test_bytes_wait_for_a_guest_that_lends_no_buffer(machine: Machine) -> None:
    kernel = machine.kernel
    told, said, reads = (kernel.queue(index) for index in (CONTROL_IN, CONTROL_OUT, 4))
    kernel.lend(told, 4)
    kernel.write(said, control(1, PORT_OPEN, 1))
    sent = os.urandom(3 * 4096)
    with machine.client(1) as client:
        client.sendall(sent)
        got = b""
        while len(got) < len(sent):
            kernel.lend(reads, 1)
            got += kernel.taken(reads)
    assert got == sent


def test_what_the_guest_writes_without_a_client_is_thrown_away(machine: Machine) -> None:
    kernel = machine.kernel
    told, writes = kernel.queue(CONTROL_IN), kernel.queue(5)
    kernel.lend(told, 4)
    kernel.write(writes, b"lost")
    assert kernel.taken(writes) == b""
    with machine.client(1) as client:
        assert kernel.taken(told) == control(1, PORT_OPEN, 1)
        kernel.write(writes, b"kept")
        assert client.recv(100) == b"kept"


def test_the_program_ends_with_the_kernel(machine: Machine) -> None:
    machine.kernel.connection.close()
    assert machine.complaint() == ""
    assert machine.process.returncode == 0


def _outside(kernel: FrontEnd) -> None:
    queue = kernel.queue(5)
    kernel.offer(queue, MEMORY - 10, 11, 0)
    kernel.kick(queue)


def _far_outside(kernel: FrontEnd) -> None:
    queue = kernel.queue(5)
    kernel.offer(queue, 2**64 - 8, 16, 0)
    kernel.kick(queue)


def _ring(kernel: FrontEnd) -> None:
    queue = kernel.queue(5)
    kernel.offer(queue, 4096, 1, 1)  # its own successor
    kernel.kick(queue)


def _wrong_direction(kernel: FrontEnd) -> None:
    queue = kernel.queue(5)
    kernel.offer(queue, 4096, 1, 2)
    kernel.kick(queue)


def _high_index(kernel: FrontEnd) -> None:
    queue = kernel.queue(5)
    kernel.offer(queue, 4096, 1, 1, following=ENTRIES)
    kernel.kick(queue)


def _odd_size(kernel: FrontEnd) -> None:
    kernel.queue(5, entries=3)


def _grown(kernel: FrontEnd) -> None:
    kernel.queue(5)
    kernel.queue(5, entries=256)


def _no_such_queue(kernel: FrontEnd) -> None:
    kernel.queue(1000)


def _queue_outside(kernel: FrontEnd) -> None:
    kernel.send(8, struct.pack("<II", 5, ENTRIES))
    kernel.send(9, struct.pack("<IIQQQQ", 5, 0, MEMORY - 16, MEMORY - 16, MEMORY - 16, 0))


def _memory_twice(kernel: FrontEnd) -> None:
    kernel.send(5, struct.pack("<IIQQQQ", 1, 0, 0, MEMORY, 0, 0), [kernel.file])


def _large_request(kernel: FrontEnd) -> None:
    kernel.connection.sendall(struct.pack("<III", 1, 1, 2**31))


def _long_configuration(kernel: FrontEnd) -> None:
    kernel.send(GET_CONFIG, struct.pack("<III", 60, 2**32 - 10, 0))


def _no_descriptor(kernel: FrontEnd) -> None:
    kernel.send(21)


@pytest.mark.parametrize(
    "attack",
    [
        _outside, _far_outside, _ring, _wrong_direction, _high_index, _odd_size, _grown, _no_such_queue, _queue_outside,
        _memory_twice, _large_request, _long_configuration, _no_descriptor,
    ],
)  # fmt: skip
def test_a_kernel_that_no_driver_resembles_ends_the_machine(machine: Machine, attack: object) -> None:
    assert callable(attack)
    with suppress(BrokenPipeError):  # it may have ended before the attack is over
        attack(machine.kernel)
    assert machine.complaint().startswith("pyro-devices: ports: ")
    assert machine.process.returncode == 1
