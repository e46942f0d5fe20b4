"""An agent in a person's own terminal: its keys, its size, leaving it and coming back."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from claude_bottle import state
from claude_bottle.backend.fake.bottle import FakeBottle
from tests.bottles.cli.conftest import COMMAND, Cli, Write, launched
from tests.terminal.person import Person, at_terminal
from tests.waiting import until

SCREEN = """
trap 'echo interrupted' INT
trap 'stty size' WINCH
echo "size $(stty size)"
echo ready
while :; do
  read -r line || continue  # a trap interrupts it
  case $line in end) exit 7;; *) printf '\\033[1mgot %s\\033[0m\\n' "$line";; esac
done
"""

pytestmark = pytest.mark.usefixtures("project")


@contextmanager
def running(*words: str) -> Iterator[Person]:
    """A person who runs the command in a terminal of 100 × 40."""
    with at_terminal([*COMMAND, *words], columns=100, rows=40) as person:
        yield person


def state_now(cli: Cli) -> str:
    return str(json.loads(cli("list", "--json").stdout)["bottles"][0]["state"])


def test_the_terminal_is_the_agents_own_and_the_exit_code_too(agent: Write) -> None:
    agent(SCREEN)
    with running("run", "web", "--backend", "fake") as person:
        person.wait_for(b"ready")
        assert b"Ctrl-] leaves" in person.seen
        person.type(b"hello\r")
        person.wait_for(b"\x1b[1mgot hello\x1b[0m")
        person.resize(90, 30)
        person.wait_for(b"30 90")
        person.type(b"\x03")
        person.wait_for(b"interrupted")
        person.type(b"end\r")
        person.wait_for(b"ended with exit code 7")

        assert person.program.wait(30) == 7
    assert len(state.slugs()) == 1


def test_a_person_leaves_and_takes_it_up_again(agent: Write, cli: Cli) -> None:
    agent(SCREEN)
    with running("run", "web", "--backend", "fake") as person:
        person.wait_for(b"ready")
        person.type(b"one\r")
        person.wait_for(b"got one")
        person.type(b"\x1d")
        person.wait_for(b"keeps running")
        assert person.program.wait(30) == 0
    assert state_now(cli) == "running"
    with running("attach", "web") as person:
        person.wait_for(b"got one")  # the screen is drawn again
        person.type(b"end\r")
        person.wait_for(b"ended with exit code 7")
        assert person.program.wait(30) == 7


@pytest.mark.parametrize("how", ["hang up", "SIGTERM", "SIGKILL"])
def test_an_agent_outlives_the_connection_of_its_person(agent: Write, cli: Cli, how: str) -> None:
    agent(SCREEN)
    with running("run", "web", "--backend", "fake") as person:
        person.wait_for(b"ready")
        person.type(b"before\r")
        person.wait_for(b"got before")
        if how == "hang up":
            person.hang_up()
        else:
            person.program.send_signal(signal.Signals[how])
        person.program.wait(30)
    assert state_now(cli) == "running"
    with running("attach", "web") as person:
        person.wait_for(b"got before")
        person.type(b"end\r")
        person.wait_for(b"ended with exit code 7")


def test_an_ended_agent_shows_its_last_output(agent: Write, cli: Cli) -> None:
    agent("echo farewell; exit 4")
    slug = launched(cli)
    until("it has ended", lambda: state_now(cli), "ended".__eq__)
    with running("attach", slug) as person:
        person.wait_for(b"farewell")
        person.wait_for(b"ended with exit code 4")
        assert person.program.wait(30) == 4


@pytest.mark.parametrize("connects", [True, False])
def test_a_person_who_comes_while_the_agent_ends_sees_all_that_it_wrote(home: Path, connects: bool) -> None:
    # The supervisor of an agent that has just ended accepts nobody; it writes the exit code, and ends.
    (home / "output").write_bytes(b"farewell")
    words = [sys.executable, "-c", "input(); open('exit', 'w').write('4')", str(home)]
    seen: list[bytes] = []
    with (
        subprocess.Popen(words, stdin=subprocess.PIPE, cwd=home) as supervisor,
        socket.socket(socket.AF_UNIX) as listening,
        ThreadPoolExecutor(1) as threads,
        quiet_person() as stdin,
    ):
        (home / "supervisor").write_text(str(supervisor.pid))
        if connects:
            listening.bind(str(home / "socket"))
            listening.listen()
        attached = threads.submit(FakeBottle("web-1", home).attach, stdin, seen.append)
        if connects:
            assert select.select([listening], [], [], 30)[0]
            listening.close()
        supervisor.communicate(b"\n", timeout=30)

        assert attached.result(30) == 4
    assert b"".join(seen) == b"farewell"


@contextmanager
def quiet_person() -> Iterator[BinaryIO]:
    """Yield the input of a person who types nothing."""
    theirs, ours = os.pipe()
    with open(theirs, "rb") as stdin, open(ours, "wb"):
        yield stdin


def test_two_people_see_the_same(agent: Write) -> None:
    agent(SCREEN)
    with running("run", "web", "--backend", "fake") as first:
        first.wait_for(b"ready")
        with running("attach", "web") as second:
            second.wait_for(b"ready")
            second.type(b"both\r")
            second.wait_for(b"got both")
            first.wait_for(b"got both")


def test_an_agent_in_a_terminal_is_stopped_from_elsewhere(agent: Write, cli: Cli) -> None:
    agent(SCREEN)
    with running("run", "web", "--backend", "fake") as person:
        person.wait_for(b"ready")
        assert cli("stop", "web").returncode == 0
        person.wait_for(b"was stopped")
        assert person.program.wait(30) == 137
    assert state.slugs() == []
