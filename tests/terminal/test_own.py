"""The terminal of a person, connected to a program elsewhere: here a pipe that shows what is typed."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.terminal import own_terminal
from tests.waiting import until

_PROGRAM = """
import os, select, sys
from pyro_mcp.terminal import own_terminal
size = lambda columns, rows: print(f"<{columns}x{rows}>", end="", flush=True)
with own_terminal(size, notice="a notice") as own:
    own.show(b"[ready]")
    while True:
        ready = select.select([own.keys, own.left], [], [])[0]
        typed = os.read(own.keys.fileno(), 4096) if own.keys in ready else b""
        if not typed:
            break
        own.show(typed.hex().encode() + b".")
print("<left>", flush=True)
"""


@pytest.fixture(autouse=True)
def hangup_by_default() -> Iterator[None]:
    """Let programs end by SIGHUP; under nohup they would inherit that it is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class Person:
    """The far end of the terminal that the program has."""

    def __init__(self, terminal: int, program: subprocess.Popen[bytes]) -> None:
        self.terminal, self.program, self.seen = terminal, program, b""

    def type(self, keys: bytes) -> None:
        os.write(self.terminal, keys)

    def wait_for(self, text: bytes) -> None:
        def look() -> bytes:
            self.seen += os.read(self.terminal, 4096)
            return self.seen

        until(f"{text!r} is shown", look, lambda seen: text in seen)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))


@contextmanager
def sitting() -> Iterator[Person]:
    terminal, far_end = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    command = [sys.executable, "-c", _PROGRAM]
    # setsid --ctty: only the foreground of a controlling terminal gets SIGWINCH and SIGHUP.
    with subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command], stdin=far_end, stdout=far_end, stderr=far_end, env=environ
    ) as program:
        os.close(far_end)
        try:
            yield Person(terminal, program)
        finally:
            program.kill()
            os.close(terminal)


def test_every_key_reaches_the_program_and_the_terminal_is_as_before() -> None:
    with sitting() as person:
        before = termios.tcgetattr(person.terminal)
        person.wait_for(b"[ready]")
        assert b"a notice" in person.seen and b"<80x24>" in person.seen

        person.type(b"a\x03\x1a\x1c\r")
        person.wait_for(b"61031a1c0d.")
        person.resize(101, 33)
        person.wait_for(b"<101x33>")
        person.type(b"\x1d")
        person.wait_for(b"<left>")

        assert person.program.wait(30) == 0
        assert termios.tcgetattr(person.terminal) == before


def test_a_lost_connection_ends_the_client_without_a_traceback() -> None:
    reading, writing = os.pipe()
    program = f"import os; os.dup2({writing}, 2)\n" + _PROGRAM
    terminal, far_end = pty.openpty()
    command = ["setsid", "--ctty", "--wait", sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=far_end, stdout=far_end, pass_fds=[writing]) as client:
        os.close(far_end)
        os.close(writing)
        person = Person(terminal, client)
        person.wait_for(b"[ready]")
        os.close(terminal)
        status = client.wait(30)
    with open(reading, "rb") as errors:
        said = errors.read()

    assert status in (-signal.SIGHUP, 128 + signal.SIGHUP)
    assert b"Traceback" not in said


def test_without_a_terminal_the_error_says_what_else_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(InvalidRequest) as raised, own_terminal(lambda *_: None, instead="pipe it"):
            pass

    assert raised.value.hint == "pipe it"
