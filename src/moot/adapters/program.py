"""What the programs of adapters have in common: the role, the log, errors, and the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from moot.adapters.desk import Desk, Role, log_to_file
from pyro_mcp.command_line import print_error
from pyro_mcp.errors import PyroError, own_errors


def run_adapter(log: str, serve: Callable[[Desk], int]) -> NoReturn:
    """Serve the role that the environment names, with a log of this name; end the process with the exit code.

    The process does not wait for its threads: one may be in a call to the server.
    """

    def work() -> int:
        role = Role.from_environment()
        log_to_file(role, log)
        return serve(Desk(role))

    status = reported(work)
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):  # whoever read it is gone
            stream.flush()
    os._exit(status)


def reported(work: Callable[[], int]) -> int:
    """Return the exit code of `work`; print the error that it raises, with its hint."""
    try:
        with own_errors():
            return work()
    except PyroError as error:
        print_error("moot", error)
        return error.exit_code
