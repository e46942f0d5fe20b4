"""`make smoke-daily-loop`: prepare, create, fix, reset, on a real guest, with what each step took."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pyro_mcp import Pyro
from pyro_mcp.errors import GuestFailed, PyroError

CHECK = "sh check.sh"
PROJECT = {"message.txt": "broken\n", "check.sh": 'test "$(cat message.txt)" = fixed\n'}
FIX = "--- a/message.txt\n+++ b/message.txt\n@@ -1 +1 @@\n-broken\n+fixed\n"
Result = TypeVar("Result")


def main() -> int:
    """Run the loop once; return 0 when every step came out as it should."""
    parser = argparse.ArgumentParser(description="Prepare, create, fix, reset: the daily loop on a real guest.")
    parser.add_argument("--environment", default="debian:12", metavar="ENV", help="default: debian:12")
    try:
        daily_loop(Pyro(), parser.parse_args().environment)
    except PyroError as error:
        print(f"daily loop: {error}", file=sys.stderr)
        return error.exit_code
    print("the loop is closed: nothing is left of the workspace")
    return 0


def daily_loop(pyro: Pyro, environment: str) -> None:
    """Run one round; raise `GuestFailed` when a step does not come out as it should."""
    prepared = timed("prepare", lambda: pyro.prepare(environment))
    if not prepared["execution_mode"].startswith("guest_"):
        raise GuestFailed(f"the execution mode is {prepared['execution_mode']!r}, not a guest's")
    with tempfile.TemporaryDirectory(prefix="pyro-daily-loop-") as folder:
        for name, text in PROJECT.items():
            Path(folder, name).write_text(text)
        id_ = timed("create", lambda: pyro.create_workspace(environment, seed_path=folder))["workspace_id"]
        try:
            fix_and_reset(pyro, id_)
        finally:
            timed("delete", lambda: pyro.delete_workspace(id_))


def fix_and_reset(pyro: Pyro, id_: str) -> None:
    """Check that the test fails, passes after a fix, and fails again after a reset."""
    expect(pyro, id_, passes=False)
    timed("fix", lambda: pyro.apply_workspace_patch(id_, patch=FIX))
    expect(pyro, id_, passes=True)
    timed("reset", lambda: pyro.reset_workspace(id_))
    expect(pyro, id_, passes=False)


def expect(pyro: Pyro, id_: str, *, passes: bool) -> None:
    """Run the check; raises `GuestFailed` when it comes out the other way."""
    done = timed(CHECK, lambda: pyro.exec_workspace(id_, command=CHECK))
    if (done["exit_code"] == 0) != passes:
        raise GuestFailed(f"{CHECK!r} ended with {done['exit_code']}; it said {done['stderr']!r}")


def timed(what: str, step: Callable[[], Result]) -> Result:
    """Run a step, print how long it took, and return its result."""
    started = time.perf_counter()
    result = step()
    print(f"  {what:12} {(time.perf_counter() - started) * 1000:6.0f} ms", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
