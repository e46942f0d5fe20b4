"""A person's own terminal on a shell of a workspace."""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pyro_mcp.errors import InvalidRequest, PyroError
from pyro_mcp.results import ShellInfo

if TYPE_CHECKING:
    from pyro_mcp import Pyro

_LEAVE = b"\x1d"  # Ctrl-], as telnet and virsh have it
_DRAINED = 0.5
# So much typed ahead of a program that reads nothing is kept; the rest is lost, as in any terminal.
_MOST_HELD = 64 * 1024


def attached(pyro: Pyro, workspace_id: str, shell_id: str) -> ShellInfo:
    """Connect the terminal to the shell until Ctrl-] or the shell's end; the terminal is as before afterwards.

    Raises `InvalidRequest` where there is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise InvalidRequest("attach needs a terminal", hint="without one, use 'shell write' and 'shell read'")
    pyro.list_shells(workspace_id)
    print("Ctrl-] leaves the shell running", file=sys.stderr)
    with _own_size(pyro, workspace_id, shell_id), _typed() as (keys, left), open(keys, "rb", closefd=False) as source:
        return pyro.attach_shell(workspace_id, shell_id, stdin=source, on_output=_show, interrupt=left)


def _show(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


@contextmanager
def _own_size(pyro: Pyro, workspace_id: str, shell_id: str) -> Iterator[None]:
    """Give the shell's terminal the size of ours, also after a change."""

    def resize() -> None:
        size = shutil.get_terminal_size()
        pyro.resize_shell(workspace_id, shell_id, cols=size.columns, rows=size.lines)

    def resize_later(*_: object) -> None:
        def attempt() -> None:
            with suppress(PyroError):  # the shell has just ended
                resize()

        threading.Thread(target=attempt, daemon=True).start()

    resize()
    before = signal.signal(signal.SIGWINCH, resize_later)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextmanager
def _typed() -> Iterator[tuple[int, int]]:
    """Yield a descriptor of the typed keys, which ends when the user detaches, and one readable after the escape time.

    The second is for a program that reads nothing: what was typed for it does not keep the person here.
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
            typed = os.read(terminal, 4096)
            if not typed:
                return
            before, leave, _ = typed.partition(_LEAVE)
            held = (held + before)[:_MOST_HELD]
        if held and (taken or terminal in ready):
            with suppress(BlockingIOError, BrokenPipeError):
                held = held[os.write(target, held) :]
