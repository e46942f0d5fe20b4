"""The evil agent: it runs as the agent of a bottle, and does what its terminal tells it. It needs only Python.

A line of input is `NUMBER TEXT`, a piece of a program in base64; `NUMBER .` starts that program in a process of its
own. Its output is a line `@NUMBER TEXT`, also in base64.
"""

from __future__ import annotations

import base64
import subprocess
import sys
import termios
import threading

_SECONDS = 100
_MOST_OUTPUT = 4000
_lock = threading.Lock()


def work(number: str, program: str) -> None:
    """Run a program, and write its output."""
    try:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=_SECONDS, check=False)
        said = done.stdout[-_MOST_OUTPUT:] + done.stderr[-_MOST_OUTPUT:]
    except subprocess.TimeoutExpired:
        said = b"it did not end"
    with _lock:
        sys.stdout.write(f"\n@{number} {base64.b64encode(said).decode()}\n")
        sys.stdout.flush()


def main() -> None:
    settings = termios.tcgetattr(0)
    settings[3] &= ~termios.ECHO
    termios.tcsetattr(0, termios.TCSANOW, settings)
    programs: dict[str, str] = {}
    sys.stdout.write("\n@ready -\n")
    sys.stdout.flush()
    for line in sys.stdin:
        number, _, piece = line.strip().partition(" ")
        if piece == ".":
            program = base64.b64decode(programs.pop(number, "")).decode()
            threading.Thread(target=work, args=(number, program), daemon=True).start()
        else:
            programs[number] = programs.get(number, "") + piece


if __name__ == "__main__":
    main()
