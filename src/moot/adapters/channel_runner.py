"""`python -m moot.adapters.channel_runner`: the channel of the role that CONVO_ROLE names, over stdio."""

from __future__ import annotations

import os
import sys

from moot.adapters.channel_adapter import ChannelAdapter
from moot.adapters.desk import Desk, Role, log_to_file
from moot.adapters.stdio import serve_stdio
from pyro_mcp.errors import PyroError


def main() -> int:
    """Serve until the client or a signal ends it; return the exit code."""
    try:
        role = Role.from_environment()
        log_to_file(role, "channel")
        desk = Desk(role)
        return serve_stdio(lambda read, write: ChannelAdapter(desk).serve(read, write))
    except PyroError as error:
        print(f"moot: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # a thread in a call to the server would be waited for
