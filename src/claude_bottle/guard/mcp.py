"""The MCP server of a guard for the agent in its bottle.

It listens on a Unix socket in the guard's private folder, and gets only connections of the bottle's own gateway. It
starts with the first connection, because to import its libraries takes longer than to start the rest of the guard.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import anyio.to_thread
import mcp_types as mcp
import uvicorn
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.server.transport_security import TransportSecuritySettings

from claude_bottle.guard import tools
from claude_bottle.guard.names import GUARD_HOST, MCP_PATH, MCP_SERVER
from claude_bottle.guard.part import Guarded
from pyro_mcp import __version__
from pyro_mcp.errors import Conflict, PyroError

_SOCKET = "mcp"
_START_SECONDS = 30.0
_LARGEST_BODY = 64 * 1024
_LARGEST_HEAD = 16 * 1024
_MOST_CONNECTIONS = 64
_MOST_CALLS = 16
_log = logging.getLogger("claude_bottle.guard")


class AgentServer:
    """The server of one bottle, in a thread of the guard."""

    def __init__(self, guarded: Guarded, kinds: Sequence[str]) -> None:
        self._guarded, self._kinds = guarded, tuple(kinds)
        self._folder = os.open(guarded.folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._path = f"/proc/self/fd/{self._folder}/{_SOCKET}"  # a socket's own path has at most 107 bytes
        self._limit = anyio.CapacityLimiter(_MOST_CALLS)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        (guarded.folder / _SOCKET).unlink(missing_ok=True)
        self._listener.bind(self._path)
        self._listener.listen(_MOST_CONNECTIONS)
        threading.Thread(target=self._serve, daemon=True).start()

    def connect(self) -> socket.socket:
        """Return a new connection to the server; raises `Conflict`."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.settimeout(_START_SECONDS)
        try:
            connection.connect(self._path)
        except OSError as error:
            connection.close()
            raise Conflict("the guard has too many connections", hint="try again later") from error
        connection.settimeout(None)
        return connection

    def _serve(self) -> None:
        server: Server[Any] = Server(
            MCP_SERVER,
            version=__version__,
            title="Requests of this bottle",
            instructions=tools.INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
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
            log_level="error",  # a warning is for the guest to cause, as often as it likes
            access_log=False,
            server_header=False,
            lifespan="on",
            h11_max_incomplete_event_size=_LARGEST_HEAD,
            limit_concurrency=_MOST_CONNECTIONS,
        )
        anyio.run(uvicorn.Server(config).serve, [self._listener])

    async def _list_tools(
        self, _context: ServerRequestContext[Any], _params: mcp.PaginatedRequestParams | None
    ) -> mcp.ListToolsResult:
        return mcp.ListToolsResult(tools=[mcp.Tool.model_validate(one) for one in tools.tools(self._kinds)])

    async def _call_tool(
        self, _context: ServerRequestContext[Any], params: mcp.CallToolRequestParams
    ) -> mcp.CallToolResult:
        call = partial(self._answer, params.name, params.arguments or {})
        return await anyio.to_thread.run_sync(call, limiter=self._limit, abandon_on_cancel=True)

    def _answer(self, name: str, given: Mapping[str, Any]) -> mcp.CallToolResult:
        try:
            text, failed = json.dumps(tools.call_tool(self._guarded, self._kinds, name, given)), False
        except PyroError as error:
            text, failed = str(error), True
        except Exception:  # noqa: BLE001
            _log.exception("a tool failed unexpectedly")
            text, failed = "the guard failed, and nothing was asked", True
        return mcp.CallToolResult(content=[mcp.TextContent(type="text", text=text)], is_error=failed)
