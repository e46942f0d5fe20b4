"""A bottle's guard that is killed at one step: `python -m … TARGET before|after FOLDER DESCRIPTOR`, see `die_at`."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from claude_bottle.guard.program import main
from pyro_mcp.host.process import child_environment
from tests.style.project import ROOT
from tests.vm.kill_point import die_at


def starting(target: str, when: str) -> Callable[[Path, int, int], None]:
    """Return what starts such a guard, in place of the function of `claude_bottle.guard.process`."""

    def start(folder: Path, listener: int, launch_over: int) -> None:
        homes = {name: os.environ[name] for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME")}
        with open(folder / "stderr", "wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", __name__, target, when, str(folder), str(listener)],
                stdin=launch_over,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(listener,),
                env=child_environment(homes),
                start_new_session=True,
                cwd=ROOT,
            )
        threading.Thread(target=process.wait, daemon=True).start()

    return start


if __name__ == "__main__":
    die_at(sys.argv[1], after=sys.argv[2] == "after")
    main(sys.argv[3:])
