"""The MCP server for the agent in a bottle, as a front of the guard: see `claude_bottle.guard.front`.

It checks requests by the protocol, and passes each call of a tool on to the guard. Its first argument is JSON: the
tools and the instructions.
"""

from __future__ import annotations

import json
import logging
import socket
from functools import partial
from typing import Any

import anyio.to_thread
import mcp_types as mcp
import uvicorn
from anyio._backends import _asyncio  # noqa: F401 - else anyio imports it after the confinement
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.server.transport_security import TransportSecuritySettings
from uvicorn.lifespan import on  # noqa: F401 - else uvicorn imports it after the confinement
from uvicorn.protocols.http.h11_impl import H11Protocol

from claude_bottle.guard.front_process import Caller, enter_front
from claude_bottle.guard.names import GUARD_HOST, MCP_PATH, MCP_SERVER
from pyro_mcp import __version__

_LARGEST_BODY = 64 * 1024
_LARGEST_HEAD = 16 * 1024
_MOST_CONNECTIONS = 64
_MOST_CALLS = 16
_log = logging.getLogger("claude_bottle.guard")


class _AgentServer:
    """The server of one bottle; `call` leads to its guard."""

    def __init__(self, call: Caller, tools: list[dict[str, Any]]) -> None:
        self._call, self._tools = call, [mcp.Tool.model_validate(one) for one in tools]
        self._limit: anyio.CapacityLimiter | None = None

    async def list_tools(
        self, _context: ServerRequestContext[Any], _params: mcp.PaginatedRequestParams | None
    ) -> mcp.ListToolsResult:
        return mcp.ListToolsResult(tools=self._tools)

    async def call_tool(
        self, _context: ServerRequestContext[Any], params: mcp.CallToolRequestParams
    ) -> mcp.CallToolResult:
        self._limit = self._limit or anyio.CapacityLimiter(_MOST_CALLS)
        asked = json.dumps({"name": params.name, "arguments": params.arguments or {}})
        return await anyio.to_thread.run_sync(partial(self._answer, asked), limiter=self._limit, abandon_on_cancel=True)

    def _answer(self, asked: str) -> mcp.CallToolResult:
        try:
            with self._call() as guard, guard.makefile("rb") as source:
                guard.sendall(asked.encode())
                guard.shutdown(socket.SHUT_WR)
                answer = json.loads(source.read())
            text, failed = answer["text"], answer["failed"]
        except (OSError, ValueError):
            _log.exception("the guard gave no answer")
            text, failed = "the guard failed, and nothing was asked", True
        return mcp.CallToolResult(content=[mcp.TextContent(type="text", text=text)], is_error=failed)


def main() -> None:
    """Serve until the guard ends."""
    listener, call, (given,) = enter_front()
    settings = json.loads(given)
    agent = _AgentServer(call, settings["tools"])
    server: Server[Any] = Server(
        MCP_SERVER,
        version=__version__,
        title="Requests of this bottle",
        instructions=settings["instructions"],
        on_list_tools=agent.list_tools,
        on_call_tool=agent.call_tool,
    )
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True, allowed_hosts=[GUARD_HOST, f"{GUARD_HOST}:80"], allowed_origins=[]
    )
    app = server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        stateless_http=True,
        json_response=True,
        transport_security=security,
        max_request_body_size=_LARGEST_BODY,
    )
    config = uvicorn.Config(
        app,
        http=H11Protocol,
        ws="none",
        log_level="error",  # the guest could cause any number of warnings
        access_log=False,
        server_header=False,
        lifespan="on",
        h11_max_incomplete_event_size=_LARGEST_HEAD,
        limit_concurrency=_MOST_CONNECTIONS,
    )
    anyio.run(uvicorn.Server(config).serve, [listener])


if __name__ == "__main__":
    main()
