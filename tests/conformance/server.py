"""A server for the conformance suite: `python server.py product|fixtures` prints its address and serves.

The suite has no place for a token, so every request gets it here; from there on all is as for other clients.
"""

from __future__ import annotations

import sys
from typing import Any

from mcp.server import Server
from starlette.types import ASGIApp, Receive, Scope, Send

from pyro_mcp import Pyro
from pyro_mcp.engine.fake import FakeEngine, outcome
from pyro_mcp.mcp_server.protocol import Protocol
from pyro_mcp.mcp_transport.http import address, listen, new_token, over_http
from tests.conformance.fixtures import fixtures


class WithToken:
    """Puts the token into every request."""

    def __init__(self, token: str, app: ASGIApp) -> None:
        self._header = (b"authorization", f"Bearer {token}".encode())
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], self._header]}
        await self._app(scope, receive, send)


def product() -> Server[Any]:
    """The server that users have, over the fake engine."""
    pyro = Pyro(engine=FakeEngine(lambda _command: outcome()))
    return Protocol(pyro, pyro.create_server("workspace-full", no_project_source=True).catalogue).lowlevel


def main(which: str) -> None:
    server = product() if which == "product" else fixtures()
    token = new_token()
    with listen(0) as listener:
        sys.stdout.write(f"{address(listener)}\n")
        sys.stdout.flush()
        over_http(server, listener, token, lambda app: WithToken(token, app))


if __name__ == "__main__":
    main(sys.argv[1])
