"""`python -m moot.adapters.mcp_runner [--transport stdio|http] [--port N] [--token-file FILE]`

The tools of the space as an MCP server, for the role that CONVO_ROLE names. Over HTTP it listens on 127.0.0.1 only, for
clients that send the bearer token of the file, or else of MOOT_MCP_TOKEN, or else a new one, which it prints.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from moot.adapters.desk import Desk
from moot.adapters.inbox import Inbox
from moot.adapters.mcp_adapter import MCPSpaceAdapter
from moot.adapters.program import run_adapter
from moot.adapters.stdio import LEAVE_SECONDS, serve_stdio
from moot.adapters.tools_spaces import ADAPTER

TOKEN_VARIABLE = "MOOT_MCP_TOKEN"  # noqa: S105
DEFAULT_PORT = 8100


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Serve until the client or a signal ends this process."""
    parser = argparse.ArgumentParser(
        prog="python -m moot.adapters.mcp_runner", description=(__doc__ or "").split("\n\n")[1]
    )
    parser.add_argument("--transport", choices=("stdio", "http"), default="stdio")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="of 127.0.0.1, with http; 0 for a free one")
    parser.add_argument("--token-file", help="a file of mode 0600 with the bearer token, with http")
    given = parser.parse_args(words)

    def serve(desk: Desk) -> int:
        Inbox(desk, ADAPTER).start()
        adapter = MCPSpaceAdapter(desk)
        if given.transport == "stdio":
            return _serve_stdio(adapter)
        _serve_http(adapter, given.port, given.token_file)
        return 0

    run_adapter("mcp", serve)


def _serve_stdio(adapter: MCPSpaceAdapter) -> int:
    async def serve(read: Any, write: Any) -> None:
        server = adapter.lowlevel
        await server.run(read, write, server.create_initialization_options())

    return serve_stdio(serve)


def _serve_http(adapter: MCPSpaceAdapter, port: int, token_file: str | None) -> None:
    from pyro_mcp.mcp_transport import http  # noqa: PLC0415 - slow to import, and stdio does without

    known = http.find_token(token_file, variable=TOKEN_VARIABLE)
    token = known or http.new_token()
    with http.listen(port) as listener:
        print(f"serving {http.address(listener)}", flush=True)  # noqa: T201
        if known is None:
            print(f"bearer token: {token}", flush=True)  # noqa: T201
        http.over_http(adapter.lowlevel, listener, token, leave_seconds=LEAVE_SECONDS)


if __name__ == "__main__":
    main()
