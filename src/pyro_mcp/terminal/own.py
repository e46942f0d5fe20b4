"""The terminal of this process, connected to a program that runs elsewhere."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import BinaryIO

from pyro_mcp.errors import InvalidRequest, PyroError
from pyro_mcp.terminal.modes import Modes

DETACH_KEY = "Ctrl-]"
"""Leaves the program running, as in telnet and virsh."""
_LEAVE = b"\x1d"
_DRAINED = 0.5
# The bytes that are kept for a program that reads nothing; the rest is lost, as in any terminal.
_MOST_HELD = 64 * 1024


@dataclass(frozen=True)
class OwnTerminal:
    """The person's terminal in raw mode.

    `keys` has what is typed, and ends when the person detaches. `left` is a descriptor that is readable a moment later,
    so that a program that reads nothing cannot keep the person here.
    """

    keys: BinaryIO
    left: int
    modes: Modes

    def show(self, data: bytes) -> None:
        """Write output of the program to the terminal."""
        self.modes.see(data)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


@contextmanager
def own_terminal(resize: Callable[[int, int], object], *, notice: str = "", instead: str = "") -> Iterator[OwnTerminal]:
    """Put the terminal into raw mode for the time of the block; it is as before afterwards.

    `resize` gets the columns and rows at once and after each change; what it raises later is ignored, because the
    program may have just ended. `notice` is printed first. Raises `InvalidRequest` where there is no terminal; its
    hint is `instead`.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InvalidRequest("attach needs a terminal", hint=instead)
    with _own_size(resize):
        if notice:
            print(notice, file=sys.stderr, flush=True)
        with _modes_restored() as modes, _typed() as (keys, left), open(keys, "rb", closefd=False) as source:
            yield OwnTerminal(source, left, modes)


@contextmanager
def _modes_restored() -> Iterator[Modes]:
    """Reset what the program set on the terminal: after a detach or a lost connection it does not do so itself."""
    modes = Modes()
    try:
        yield modes
    finally:
        if resets := modes.resets():
            with suppress(OSError):  # the connection to the terminal is lost
                os.write(sys.stdout.fileno(), resets)


@contextmanager
def _own_size(resize: Callable[[int, int], object]) -> Iterator[None]:
    """Give the program's terminal the size of ours, also after a change."""

    def resize_now() -> None:
        size = shutil.get_terminal_size()
        resize(size.columns, size.lines)

    def resize_later(*_: object) -> None:
        def attempt() -> None:
            with suppress(PyroError):  # the program has just ended
                resize_now()

        threading.Thread(target=attempt, daemon=True).start()

    resize_now()
    before = signal.signal(signal.SIGWINCH, resize_later)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextmanager
def _typed() -> Iterator[tuple[int, int]]:
    """Yield a descriptor of the typed keys, which ends when the person detaches, and one that is readable soon after.

    The second is for a program that reads nothing: unread keys do not keep the person here.
    """
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    keys, pump_end = os.pipe()
    left, leaving = os.pipe()
    stop, stopping = os.pipe()
    pump = threading.Thread(target=_pump, args=(terminal, pump_end, leaving, stop), daemon=True)
    tty.setraw(terminal)
    try:
        pump.start()
        yield keys, left
    finally:
        with suppress(termios.error):  # the connection to the terminal is lost
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        os.close(stopping)
        pump.join(_DRAINED)
        for fd in (keys, left, stop):
            os.close(fd)


def _pump(terminal: int, target: int, leaving: int, stop: int) -> None:
    try:
        _pump_keys(terminal, target, stop)
        os.close(target)
        select.select([stop], [], [], _DRAINED)
    finally:
        os.close(leaving)


def _pump_keys(terminal: int, target: int, stop: int) -> None:
    """Pass keys on until the user detaches or the far end has ended; read on while the far end accepts nothing."""
    os.set_blocking(target, False)
    held, leave = b"", b""
    while not leave:
        ready, taken, _ = select.select([terminal, stop], [target] if held else [], [])
        if stop in ready:
            return
        if terminal in ready:
            typed = b""
            with suppress(OSError):  # EIO: the connection to the terminal is lost
                typed = os.read(terminal, 4096)
            if not typed:
                return
            before, leave, _ = typed.partition(_LEAVE)
            held = (held + before)[:_MOST_HELD]
        if held and (taken or terminal in ready):
            with suppress(BlockingIOError, BrokenPipeError):
                held = held[os.write(target, held) :]
