"""The first process of a window: it becomes the program that a start file names, in that program's environment.

    python -P -m moot.agents.pane_process .moot/run/qa/agent.start

So no variable of a role, which may be a secret, is on a command line or in the environment of the tmux server. The
file is removed before the program starts.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_OF_THE_TERMINAL = ("TERM", "COLORTERM", "TMUX", "TMUX_PANE")
_NOT_FOUND = 127  # the exit code of a shell for a program that it cannot start


def start_text(argv: Sequence[str], folder: str, environment: Mapping[str, str]) -> str:
    """Return the content of a start file."""
    return json.dumps({"argv": list(argv), "folder": folder, "environment": dict(environment)})


def main(arguments: Sequence[str]) -> int:
    """Become the program of the start file `arguments[0]`; return an exit code only if that fails."""
    path = Path(arguments[0])
    try:
        content = path.read_text()
        path.unlink()
        start = json.loads(content)
        environment = start["environment"]
        environment |= {name: os.environ[name] for name in _OF_THE_TERMINAL if name in os.environ}
        os.chdir(start["folder"])
        os.execvpe(start["argv"][0], start["argv"], environment)  # noqa: S606 - a list of arguments, no shell
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"moot: cannot start: {error}\n")
    return _NOT_FOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
