"""A command whose caller does not want it any more."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_mcp.engine.guest_connection import GuestConnection
from pyro_mcp.engine.host_compat import HostCompat, HostSession
from pyro_mcp.engine.interface import Command
from pyro_mcp.errors import Interrupted


@pytest.fixture
def interrupt() -> Iterator[int]:
    fd = os.eventfd(0)
    yield fd
    os.close(fd)


def test_a_guest_that_says_nothing_is_left_at_once(interrupt: int) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        threading.Timer(0.2, os.eventfd_write, [interrupt, 1]).start()
        began = time.monotonic()

        with pytest.raises(Interrupted):
            GuestConnection(ours).run(Command(["sleep", "60"], interrupt=interrupt))
        assert time.monotonic() - began < 10


def test_a_command_on_the_host_is_killed(interrupt: int, tmp_path: Path) -> None:
    assert HostCompat().execution_mode == "host_compat"
    session = HostSession(tmp_path)
    started = threading.Event()

    def end(_: bytes) -> None:
        started.set()
        os.eventfd_write(interrupt, 1)

    command = ["sh", "-c", "echo up; sleep 54321; touch /workspace/late"]
    with pytest.raises(Interrupted):
        session.run(Command(command, interrupt=interrupt, on_stdout=end))
    assert started.is_set()
    assert not [one for one in Path("/proc").glob("[0-9]*/cmdline") if b"54321" in read(one)]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
