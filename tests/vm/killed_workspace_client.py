"""Run one step on a workspace and be killed at its Nth function call.

`python -m tests.vm.killed_workspace_client STEP ID N HOW`. With HOW `client` only this process is killed, with `power`
the machine's processes too, as by a power cut. With N = 0 the step ends, and the number of its calls is printed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from pyro_mcp import Pyro
from pyro_mcp.engine.processes import find_processes
from tests.vm.processes import kill_machines_below

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
    """Run the step; the profiler counts the calls of our own functions."""
    step, id_, moment, how = sys.argv[1:]
    fatal_call, calls = int(moment), 0
    pyro = Pyro()

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        if event != "call" or "/pyro_mcp/" not in frame.f_code.co_filename:
            return
        calls += 1
        if calls == fatal_call:
            sys.setprofile(None)
            state = Path(os.environ["XDG_STATE_HOME"])
            if how == "power" and find_processes(str(state)):  # a step may have ended the only machine by then
                kill_machines_below(state)
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    try:
        STEPS[step](pyro, id_, moment)
    finally:
        sys.setprofile(None)
    sys.stdout.write(str(calls))


if __name__ == "__main__":
    main()
