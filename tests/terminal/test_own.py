"""The terminal of a person, connected to a program elsewhere: here a pipe that shows what is typed."""

from __future__ import annotations

import os
import signal
import sys
import termios

import pytest

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.terminal import own_terminal
from pyro_mcp.terminal.modes import Modes
from tests.terminal.person import at_terminal

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


def test_every_key_reaches_the_program_and_the_terminal_is_as_before() -> None:
    with at_terminal([sys.executable, "-c", _PROGRAM]) as person:
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


def test_who_leaves_a_full_screen_program_has_an_ordinary_terminal_again() -> None:
    entered = rb"\x1b[?1049h\x1b[?1000;1006h\x1b[?2004h\x1b[?25l"
    program = _PROGRAM.replace('b"[ready]"', f'b"{entered.decode()}[ready]"')
    with at_terminal([sys.executable, "-c", program]) as person:
        person.wait_for(b"[ready]")
        person.type(b"\x1d")
        person.wait_for(b"<left>")

    after = person.seen.partition(b"[ready]")[2].partition(b"<left>")[0]
    assert after == b"\x1b[?1049l\x1b[?1000l\x1b[?1006l\x1b[?2004l\x1b[?25h\x1b[m"


@pytest.mark.parametrize(
    ("output", "resets"),
    [
        ([b"text \x1b[1mbold\x1b[0m"], b""),
        ([b"\x1b[?1049h", b"\x1b[?1049l"], b""),
        ([b"\x1b", b"[?20", b"04", b"h"], b"\x1b[?2004l\x1b[m"),
        ([b"\x1b[?25l\x1b[?7l\x1b[?12h"], b"\x1b[?25h\x1b[m"),
        ([b"\x1b[?" + b"9" * 100_000 + b"h", b"\x1b[?;;h"], b""),
    ],
)
def test_only_what_a_program_changed_is_reset(output: list[bytes], resets: bytes) -> None:
    modes = Modes()
    for part in output:
        modes.see(part)

    assert modes.resets() == resets


def test_a_lost_connection_ends_the_client_without_a_traceback() -> None:
    reading, writing = os.pipe()
    program = f"import os; os.dup2({writing}, 2)\n" + _PROGRAM
    with at_terminal([sys.executable, "-c", program], pass_fds=[writing]) as person:
        os.close(writing)
        person.wait_for(b"[ready]")
        person.hang_up()
        status = person.program.wait(30)
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
