"""Does one step on a workspace and dies at its Nth function call: `python -m tests.vm.crash_victim STEP ID N HOW`.

HOW is `client` for a killed client, `power` for a cut: the machine's processes die with it. N = 0 lives, and prints how
many calls there were to die at.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from types import FrameType

from pyro_mcp import Pyro
from pyro_mcp.engine.processes import find_processes

STEPS: dict[str, Callable[[Pyro, str, str], object]] = {
    "write": lambda pyro, id_, mark: pyro.write_workspace_file(id_, "written", text=mark),
    "exec": lambda pyro, id_, mark: pyro.exec_workspace(id_, command=f"echo {mark} > executed"),
    "snapshot": lambda pyro, id_, mark: pyro.create_snapshot(id_, f"s{mark}"),
    "reset": lambda pyro, id_, _: pyro.reset_workspace(id_),
    "stop": lambda pyro, id_, _: pyro.stop_workspace(id_),
    "start": lambda pyro, id_, _: (pyro.stop_workspace(id_), pyro.start_workspace(id_)),
    "fork": lambda pyro, id_, mark: pyro.fork_workspace(id_, name=f"fork{mark}"),
    "create": lambda pyro, _, mark: pyro.create_workspace("debian:12", name=f"new{mark}"),
    "delete": lambda pyro, id_, mark: pyro.delete_workspace(
        pyro.fork_workspace(id_, name=f"gone{mark}")["workspace_id"]
    ),
}


def main() -> None:
    """Live, or die."""
    step, id_, moment, how = sys.argv[1:]
    left, seen = int(moment), 0
    pyro = Pyro()

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal seen
        if event != "call" or "/pyro_mcp/" not in frame.f_code.co_filename:
            return
        seen += 1
        if seen == left:
            sys.setprofile(None)
            if how == "power":
                for identity in find_processes(os.environ["XDG_STATE_HOME"]):
                    ended = os.pidfd_open(identity.pid)
                    os.killpg(identity.pid, signal.SIGKILL)
                    select.select([ended], [], [], 10)
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    try:
        STEPS[step](pyro, id_, moment)
    finally:
        sys.setprofile(None)
    sys.stdout.write(str(seen))


if __name__ == "__main__":
    main()
