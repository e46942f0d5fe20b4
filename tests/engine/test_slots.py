"""The slots of a machine: who waits for one, for how long, and in which order; the machine only listens."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path

import pytest

from pyro_mcp.engine.guest_connection import GuestConnection
from pyro_mcp.engine.slots import connected
from pyro_mcp.errors import Busy, DeadlineExceeded, GuestGone
from pyro_mcp.guest_protocol.frames import SLOTS
from pyro_mcp.host import folder_watch
from tests.waiting import until

DEADLINE = 20.0
CLIENTS = 200
FOR_COMMANDS = SLOTS - 2


@pytest.fixture
def machine(home: Path) -> Iterator[Path]:
    """Listen on the sockets of a machine, and yield their folder."""
    with ExitStack() as stack:
        for slot in range(SLOTS):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(home / str(slot)))
            listener.listen(CLIENTS)  # nobody accepts, so every connection of a test may stay in one backlog
        yield home


def long_running(machine: Path, deadline_seconds: float = DEADLINE) -> AbstractContextManager[GuestConnection]:
    return connected(machine, deadline_seconds=deadline_seconds, long_running=True)


@pytest.fixture
def commands(machine: Path) -> Iterator[list[ExitStack]]:
    """As many commands as may run at once."""
    with ExitStack() as stack:
        clients = [stack.enter_context(ExitStack()) for _ in range(FOR_COMMANDS)]
        for client in clients:
            client.enter_context(long_running(machine, 0))
        yield clients


def entered(machine: Path) -> float:
    """When a command got its slot."""
    with long_running(machine):
        return time.monotonic()


def waiting(machine: Path) -> int:
    """Return how many commands wait for a slot."""
    return len(list(machine.glob("*.lasting")))


def until_waiting(machine: Path, count: int) -> None:
    until(f"{count} commands wait for a slot", lambda: waiting(machine), count.__eq__, deadline_seconds=DEADLINE)


@pytest.mark.usefixtures("commands")
def test_the_error_says_how_long_it_waited_and_who_has_the_slots(machine: Path) -> None:
    expected = rf"all 14 connections for commands .* in use for 0\.05 s, by process {os.getpid()}\n"
    with pytest.raises(Busy, match=expected), long_running(machine, 0.05):
        pass


def test_files_can_be_worked_on_while_commands_have_all_their_slots(machine: Path, commands: list[ExitStack]) -> None:
    with connected(machine, deadline_seconds=0), connected(machine, deadline_seconds=0):
        with pytest.raises(Busy, match="all 16 connections to this machine"), connected(machine, deadline_seconds=0):
            pass
        commands[7].close()
        with connected(machine, deadline_seconds=0):
            assert (machine / "7.lock").read_bytes() == b"1%d" % os.getpid()


def test_those_who_wait_are_served_in_the_order_in_which_they_came(machine: Path, commands: list[ExitStack]) -> None:
    served: list[int] = []
    done = threading.Event()

    def client(number: int) -> None:
        with long_running(machine):
            served.append(number)
            assert done.wait(DEADLINE)

    with ThreadPoolExecutor(6) as pool:
        clients = []
        for number in range(6):
            clients.append(pool.submit(client, number))
            until_waiting(machine, number + 1)
        for number in range(6):
            commands[number].close()
            until(f"{number + 1} clients are served", partial(len, served), (number + 1).__eq__)
        done.set()
        for one in clients:
            one.result(DEADLINE)
    assert served == list(range(6))
    assert waiting(machine) == 0


def test_a_slot_is_handed_on_at_once(machine: Path, commands: list[ExitStack]) -> None:
    with ThreadPoolExecutor(1) as pool:
        client = pool.submit(entered, machine)
        until_waiting(machine, 1)
        freed = time.monotonic()
        commands[3].close()
        assert client.result(DEADLINE) - freed < 0.2


def test_many_short_commands_at_once_all_get_their_turn(machine: Path) -> None:
    def client(_: int) -> None:
        with long_running(machine, 10):
            time.sleep(0.01)  # what a short command takes

    with ThreadPoolExecutor(50) as pool:
        assert len(list(pool.map(client, range(CLIENTS)))) == CLIENTS


def test_one_who_is_killed_while_waiting_holds_up_nobody(machine: Path, commands: list[ExitStack]) -> None:
    script = (
        "import sys; from pathlib import Path; from pyro_mcp.engine.slots import connected\n"
        "with connected(Path(sys.argv[1]), deadline_seconds=60, long_running=True): pass"
    )
    with subprocess.Popen([sys.executable, "-c", script, machine]) as victim:
        until_waiting(machine, 1)
        victim.kill()
    commands[0].close()
    with long_running(machine, 1):
        assert waiting(machine) == 0


def test_one_who_is_killed_with_a_slot_hands_it_on(machine: Path, commands: list[ExitStack]) -> None:
    script = (
        "import sys; from pathlib import Path; from pyro_mcp.engine.slots import connected\n"
        "with connected(Path(sys.argv[1]), long_running=True): print('here', flush=True); sys.stdin.read()"
    )
    commands[5].close()
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", script, machine], **pipes) as victim, ThreadPoolExecutor(1) as pool:  # type: ignore[call-overload]
        assert victim.stdout.readline() == b"here\n"
        client = pool.submit(entered, machine)
        until_waiting(machine, 1)
        killed = time.monotonic()
        victim.kill()
        assert client.result(DEADLINE) - killed < 2


def test_without_inotify_those_who_wait_are_served_too(
    machine: Path, commands: list[ExitStack], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_watch, "INOTIFY_FLAGS", -1)  # EINVAL
    with ThreadPoolExecutor(1) as pool:
        client = pool.submit(entered, machine)
        until_waiting(machine, 1)
        commands[0].close()
        assert client.result(DEADLINE)


@pytest.mark.usefixtures("commands")
def test_whoever_waits_for_a_machine_that_ends_is_told(machine: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        waits = pool.submit(entered, machine)
        until_waiting(machine, 1)
        moved = machine.with_name(f"{machine.name}-gone")
        machine.rename(moved)
        with pytest.raises(GuestGone):
            waits.result(DEADLINE)
        moved.rename(machine)


def test_a_machine_that_takes_no_connection_is_silent_and_the_error_says_how_to_end_it(home: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, ExitStack() as stack:
        listener.bind(str(home / "0"))
        listener.listen(0)
        stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(home / "0"))
        with (
            pytest.raises(DeadlineExceeded, match="taken no connection for 1 s") as raised,
            connected(home, deadline_seconds=1),
        ):
            pass

    assert "reset" in raised.value.hint and "stop_workspace(force=True)" in raised.value.hint
