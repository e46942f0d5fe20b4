"""The terminal of an agent in a container: what is typed, its size, its signals, and leaving it."""

from __future__ import annotations

import os
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import BinaryIO, Protocol

from claude_bottle import state
from claude_bottle.bottles import Bottles
from claude_bottle.state import Record
from tests.bottles.docker.conftest import Shelf
from tests.waiting import until

ECHO = """
import os, signal, sys
def say(*words): print(*words, flush=True)
signal.signal(signal.SIGWINCH, lambda *_: say("size", *os.get_terminal_size(0)))
signal.signal(signal.SIGINT, lambda *_: say("got-int"))
say("ready", *os.get_terminal_size(0))
for line in sys.stdin:
    say("line:" + line.strip())
    if line.strip() == "end":
        sys.exit(5)
"""


class Attached(Protocol):
    """A bottle, or another way to its terminal."""

    def attach(
        self, stdin: BinaryIO, on_output: Callable[[bytes], None], *, interrupt: int | None = None
    ) -> int | None: ...


class Viewer:
    """Somebody at the terminal of a bottle."""

    def __init__(self, bottle: Attached) -> None:
        self.shown = bytearray()
        self.code: int | None = None
        self._bottle = bottle
        self._typed, self._keyboard = os.pipe()
        self._leaving, self._leave = os.pipe()
        self._thread = threading.Thread(target=self._attach)
        self._thread.start()

    def _attach(self) -> None:
        with open(self._typed, "rb", closefd=False) as stdin:
            self.code = self._bottle.attach(stdin, self.shown.extend, interrupt=self._leaving)

    def type(self, text: bytes) -> None:
        os.write(self._keyboard, text)

    def pastes_all_that_is_taken(self) -> None:
        """Type until nothing more has been taken for a second."""
        os.set_blocking(self._keyboard, False)
        while select.select([], [self._keyboard], [], 1.0)[1]:
            with suppress(BlockingIOError):
                os.write(self._keyboard, bytes(64 * 1024))

    def sees(self, text: bytes) -> None:
        until(f"{text!r} is shown", lambda: bytes(self.shown), lambda shown: text in shown)

    def leaves(self) -> int | None:
        """Leave the terminal, and return what `attach` did."""
        os.write(self._leave, b"x")
        return self.ends()

    def ends(self) -> int | None:
        self._thread.join(30)
        assert not self._thread.is_alive()
        for descriptor in (self._typed, self._keyboard, self._leaving, self._leave):
            os.close(descriptor)
        return self.code


def test_what_is_typed_arrives_and_somebody_who_comes_back_sees_what_was_before(shelf: Shelf) -> None:
    bottle = shelf.launch(["python3", "-c", ECHO])
    bottle.resize(101, 33)
    viewer = Viewer(bottle)
    viewer.sees(b"ready 80 24")
    viewer.sees(b"size 101 33")
    viewer.type(b"one\r")
    viewer.sees(b"line:one")
    viewer.type(b"\x03")
    viewer.sees(b"got-int")
    bottle.resize(90, 20)
    viewer.sees(b"size 90 20")
    assert viewer.leaves() is None
    assert bottle.exit_code() is None

    again = Viewer(shelf.backend.find(bottle.slug))
    again.sees(b"line:one")
    again.type(b"caf\xc3\xa9\rend\r")
    assert again.ends() == 5
    assert b"line:caf\xc3\xa9" in again.shown
    assert bottle.output(most=6).endswith(b"end\r\n")


def test_the_terminal_of_an_agent_that_has_ended_shows_its_last_output(shelf: Shelf) -> None:
    bottle = shelf.launch(["sh", "-c", "seq 1 100000; exit 7"])
    assert shelf.wait(bottle) == 7
    late = Viewer(bottle)
    assert late.ends() == 7
    assert late.shown.endswith(b"\r\n100000\r\n") and len(late.shown) == 64 * 1024


def test_no_output_is_lost_between_the_launch_and_the_first_look(shelf: Shelf) -> None:
    bottle = shelf.launch(["sh", "-c", "seq 1 3000; read -r line; seq 3001 6000"])
    viewer = Viewer(bottle)
    viewer.type(b"\r")
    assert viewer.ends() == 0
    assert bytes(viewer.shown).split() == [str(number).encode() for number in range(1, 6001)]


class Command:
    """The terminal of a bottle by way of `Bottles`, as the command line uses it."""

    def __init__(self, bottles: Bottles, slug: str) -> None:
        self._bottles = bottles
        self._slug = slug

    def attach(
        self, stdin: BinaryIO, on_output: Callable[[bytes], None], *, interrupt: int | None = None
    ) -> int | None:
        return self._bottles.attach(self._slug, stdin, on_output, interrupt=interrupt)


def test_the_size_reaches_the_agent_through_the_methods_of_the_command_line(shelf: Shelf) -> None:
    slug = shelf.launch(["python3", "-c", ECHO]).slug
    record = Record(
        slug=slug,
        agent="test",
        bottle="test",
        backend="docker",
        folder=str(shelf.project),
        copied=False,
        harness=["python3"],
        created_at=time.time(),
    )
    with state.launching(record):
        state.launched(record)
    bottles = Bottles()
    bottles.resize(slug, 101, 33)
    viewer = Viewer(Command(bottles, slug))
    viewer.sees(b"size 101 33")
    bottles.resize(slug, 90, 20)
    viewer.sees(b"size 90 20")
    assert viewer.leaves() is None


def test_somebody_can_leave_an_agent_that_does_not_read_what_was_pasted(shelf: Shelf) -> None:
    bottle = shelf.launch(["sh", "-c", "stty raw -echo; echo ready; exec sleep 600"])
    viewer = Viewer(bottle)
    viewer.sees(b"ready")
    viewer.pastes_all_that_is_taken()
    assert viewer.leaves() is None
