"""A person at a terminal, in whose foreground a program runs."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from tests.waiting import until

_READ_SECONDS = 30.0


class Person:
    """The far end of the terminal that the program has."""

    def __init__(self, terminal: int, program: subprocess.Popen[bytes]) -> None:
        self.terminal, self.program, self.seen = terminal, program, b""

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.terminal, keys)

    def wait_for(self, text: bytes) -> None:
        """Wait until the program has shown `text`; what was shown up to its end is not looked at again."""

        def look() -> bytes:
            if select.select([self.terminal], [], [], 1.0)[0]:
                with suppress(OSError):  # EIO: the program has closed its end
                    self.seen += os.read(self.terminal, 4096)
            return self.seen

        until(f"{text!r} is shown", look, lambda seen: text in seen, deadline_seconds=_READ_SECONDS)

    def forget(self) -> None:
        """Look from now on only at what is shown next."""
        self.seen = b""

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the terminal's window."""
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))

    def hang_up(self) -> None:
        """Lose the connection."""
        os.close(self.terminal)
        self.terminal = -1


@contextmanager
def at_terminal(
    command: Sequence[str], *, columns: int = 80, rows: int = 24, pass_fds: Sequence[int] = ()
) -> Iterator[Person]:
    """Start a program in the foreground of a terminal of its own; it is killed when the block ends."""
    terminal, far_end = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
    environ = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    # Under nohup the program would inherit that SIGHUP is ignored.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        # setsid --ctty: only the foreground of a controlling terminal gets SIGWINCH and SIGHUP.
        program = subprocess.Popen(
            ["setsid", "--ctty", *command],
            stdin=far_end,
            stdout=far_end,
            stderr=far_end,
            env=environ,
            pass_fds=pass_fds,
        )
    finally:
        signal.signal(signal.SIGHUP, before)
        os.close(far_end)
    person = Person(terminal, program)
    try:
        yield person
    finally:
        program.kill()
        program.wait(_READ_SECONDS)
        if person.terminal >= 0:
            person.hang_up()
