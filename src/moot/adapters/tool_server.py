"""An MCP server over tools: lists them, calls each in a thread, and turns failures into results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import anyio.to_thread
import mcp_types as mcp
from mcp.server import Server
from mcp.server.context import ServerRequestContext

from moot.adapters.tool import Tool, failure, result
from pyro_mcp import __version__
from pyro_mcp.errors import InvalidRequest, PyroError
from pyro_mcp.hints import near_match

_log = logging.getLogger("convo.mcp")


class ToolServer:
    """The tools of one desk. `notice` returns what a result says of unread messages, "" for nothing."""

    def __init__(
        self,
        name: str,
        desk: Any,
        tools: Sequence[Tool],
        *,
        instructions: str,
        notice: Callable[[], str] = lambda: "",
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._desk = desk
        self._tools = {tool.name: tool for tool in tools}
        self._notice = notice
        self._before = before
        self.lowlevel: Server[Any] = Server(
            name,
            version=__version__,
            instructions=instructions,
            on_list_tools=self._on_list_tools,
            on_call_tool=self._on_call_tool,
        )

    async def _on_list_tools(
        self, context: ServerRequestContext[Any], params: mcp.PaginatedRequestParams | None
    ) -> mcp.ListToolsResult:
        return mcp.ListToolsResult(tools=[tool.described() for tool in self._tools.values()])

    async def _on_call_tool(
        self, context: ServerRequestContext[Any], params: mcp.CallToolRequestParams
    ) -> mcp.CallToolResult:
        # A thread that nobody waits for any more ends by the time limit of its call to the server.
        return await anyio.to_thread.run_sync(self.call, params.name, params.arguments or {}, abandon_on_cancel=True)

    def call(self, name: str, given: dict[str, Any]) -> mcp.CallToolResult:
        """Call a tool; a failure is a result with `is_error`, never an exception."""
        try:
            tool = self._tools.get(name)
            if tool is None:
                hint = near_match(name, self._tools) or f"choose from {', '.join(self._tools)}"
                raise InvalidRequest(f"there is no tool {name[:100]!r}", hint=hint)
            self._before()
            returned = tool.call(self._desk, given)
            return result(returned, self._notice())
        except PyroError as error:
            _log.info("%s failed: %s", name, error)
            return failure(error.code, error.message, str(error.hint))
        except Exception as error:  # noqa: BLE001 - a bug in one tool must not end the server
            _log.exception("the tool %r failed unexpectedly", name)
            return failure("error", f"{name} failed: {type(error).__name__}", "this is a bug; the log has the cause")
