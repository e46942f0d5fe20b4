"""`python -m moot.adapters.notify_runner [--session NAME]`: types messages into the terminal of an idle agent.

The session is that of the option, else of CONVO_TMUX_SESSION, else moot-<role>. It ends by SIGTERM, SIGINT or SIGHUP.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import threading
from collections.abc import Sequence
from typing import NoReturn

from moot.adapters.desk import Desk
from moot.adapters.harness_of_role import harness_of
from moot.adapters.inbox import Inbox
from moot.adapters.program import run_adapter
from moot.adapters.tmux_delivery import TmuxDelivery
from moot.agents.tmux import Tmux, session_name
from moot.config import project_folder
from pyro_mcp.mcp_transport.exit import leave_soon

ADAPTER = "tmux"
_STEP_SECONDS = 0.5
_LEAVE_SECONDS = 0.5
_log = logging.getLogger("convo.notify")


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Deliver until a signal ends this process."""
    parser = argparse.ArgumentParser(prog="python -m moot.adapters.notify_runner", description=(__doc__ or "").strip())
    parser.add_argument("--session", help="the tmux session of the agent")
    given = parser.parse_args(words)
    ended, wake = threading.Event(), threading.Event()
    status = 0

    def end(number: int, _frame: object) -> None:
        nonlocal status
        status = 128 + number
        leave_soon(status, seconds=_LEAVE_SECONDS)  # a step may wait for tmux
        ended.set()
        wake.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)

    def serve(desk: Desk) -> int:
        Inbox(desk, ADAPTER, on_new=wake.set).start()
        role = desk.role.name
        session = given.session or os.environ.get("CONVO_TMUX_SESSION") or session_name(role)
        delivery = TmuxDelivery(desk, Tmux(str(project_folder())), session, harness_of(role))
        while not ended.is_set():
            try:
                delivery.step()
            except Exception as error:  # noqa: BLE001 - the daemon must outlive any failure of one step
                _log.exception("a step failed, and is tried again: %s", error)
            wake.wait(_STEP_SECONDS)
            wake.clear()
        return status

    run_adapter("notify", serve)


if __name__ == "__main__":
    main()
