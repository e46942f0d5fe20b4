"""The server: lists tools, takes calls, and gives each its thread."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import mcp_types as mcp
from jsonschema import Draft202012Validator
from mcp.server import Server
from mcp.server.context import ServerRequestContext

from pyro_mcp.errors import Interrupted, InvalidRequest, PyroError
from pyro_mcp.server.bounds import bounded, shortened
from pyro_mcp.server.http import address, find_token, listen, new_token, over_http
from pyro_mcp.server.plain import content, harmless, name, readable, structured
from pyro_mcp.server.profiles import Selection
from pyro_mcp.server.reach import Reach
from pyro_mcp.server.source import ProjectSource
from pyro_mcp.server.stdio import over_stdio
from pyro_mcp.server.text import told
from pyro_mcp.server.thread import Work, in_thread
from pyro_mcp.server.tool import Call, Tool
from pyro_mcp.server.tool_words import in_tool_words
from pyro_mcp.workspaces import Pyro

_log = logging.getLogger("pyro_mcp.server")
_LARGEST_ARGUMENTS = 16 * 1024 * 1024
"""Characters of a call's arguments as JSON."""
_current: ContextVar[Work | None] = ContextVar("work of this thread", default=None)


def _report(message: str, fraction: float | None = None) -> None:
    """Pass what long work says of itself to the call that it is done for."""
    if (work := _current.get()) is not None:
        work.progress(message, fraction)


class WorkspaceServer:
    """An MCP server over one `Pyro`: any number of calls at once, on any number of connections."""

    def __init__(
        self,
        pyro: Pyro,
        selection: Selection,
        source: ProjectSource,
        reach: Reach,
        version: str,
        *,
        structured: bool = True,
    ) -> None:
        self._pyro = pyro.reporting_to(_report)
        self._source = source
        self._reach = reach
        self._structured = structured
        self._selection = selection
        self._tools = {tool.name: tool for tool in selection.tools}
        self._schemas = {tool.name: tool.input_schema(full=selection.full) for tool in selection.tools}
        self.lowlevel: Server[Any] = Server(
            "pyro",
            version=version,
            title="pyro workspaces",
            instructions=readable(_instructions(selection, source, reach)),
            on_list_tools=self._on_list_tools,
            on_call_tool=self._on_call_tool,
        )

    @property
    def source(self) -> ProjectSource:
        """What a workspace holds when no seed is named."""
        return self._source

    async def list_tools(self) -> list[mcp.Tool]:
        """The tools, always in the same order."""
        return [self._described(tool) for tool in self._tools.values()]

    async def call_tool(self, name: str, arguments: Mapping[str, Any] | None = None) -> mcp.CallToolResult:
        """Call a tool as a client does; a failure is a result with `is_error`, never an exception."""
        return await self._call(name, arguments or {}, Work())

    def serve_stdio(self) -> int:
        """Serve one client over standard input and output until it closes them; commands that run then are killed.

        An exit code: 128+n when signal n ended it.
        """
        return over_stdio(self.lowlevel)

    def serve_http(
        self, *, port: int = 0, token_file: str | Path | None = None, announce: Callable[[str, str | None], None]
    ) -> None:
        """Serve any number of clients on 127.0.0.1 until a signal ends it; commands that run then are killed.

        They send the token of `token_file`, or else of `$PYRO_MCP_TOKEN`, or else a new one. `announce` is told the
        address, and the token when it is new. Raises `InvalidRequest` for an unsafe token, `Conflict` for a taken port.
        """
        known = find_token(token_file)
        token = known or new_token()
        with listen(port) as listener:
            announce(address(listener), None if known else token)
            over_http(self.lowlevel, listener, token)

    async def _on_list_tools(
        self, context: ServerRequestContext[Any], params: mcp.PaginatedRequestParams | None
    ) -> mcp.ListToolsResult:
        return mcp.ListToolsResult(tools=await self.list_tools())

    async def _on_call_tool(
        self, context: ServerRequestContext[Any], params: mcp.CallToolRequestParams
    ) -> mcp.CallToolResult:
        return await self._call(params.name, params.arguments or {}, Work(context.session.report_progress))

    async def _call(self, name: str, arguments: Mapping[str, Any], work: Work) -> mcp.CallToolResult:
        try:
            tool = self._known(name)
            given = _checked(arguments, self._schemas[name], name)
            result = await in_thread(lambda: self._run(tool, given, work), work)
        except PyroError as error:
            return _failed(error)
        except Exception as error:  # noqa: BLE001
            _log.exception("the tool %r failed unexpectedly", name)
            return _failed(PyroError(f"{name} failed: {type(error).__name__}", hint="this is a defect of pyro's own"))
        return self._told(tool, result)

    def _run(self, tool: Tool, given: Mapping[str, Any], work: Work) -> Mapping[str, Any]:
        _current.set(work)
        call = Call(self._pyro, self._source, self._reach, given, work.interrupt, work.output)
        result = tool.call(call)
        if work.ended and tool.undo is not None:
            tool.undo(call, result)
            raise Interrupted("nobody waits for this any more, so it is undone")
        return {**result, "hint": in_tool_words(result["hint"])} if result.get("hint") else result

    def _known(self, name: str) -> Tool:
        if name not in self._tools:
            near = difflib.get_close_matches(name, self._tools, n=3) or list(self._tools)
            raise InvalidRequest(f"there is no tool {shortened(name, 100)!r}", hint=f"there is: {', '.join(near)}")
        return self._tools[name]

    def _described(self, tool: Tool) -> mcp.Tool:
        return mcp.Tool(
            name=tool.name,
            description=tool.description,
            input_schema=self._schemas[tool.name],
            output_schema=dict(tool.output) if self._structured else None,
            annotations=mcp.ToolAnnotations(
                read_only_hint=tool.read_only,
                destructive_hint=tool.destructive,
                idempotent_hint=tool.idempotent,
                open_world_hint=tool.open_world,
            ),
        )

    def _told(self, tool: Tool, result: Mapping[str, Any]) -> mcp.CallToolResult:
        """The result as text, whole in itself, and for programs as data."""
        result = readable(result)
        steps = {name: why for name, why in tool.then.items() if name in self._tools}
        text = mcp.TextContent(type="text", text=told(tool, harmless(result), steps))
        data = bounded(structured(result)) if self._structured else None
        return mcp.CallToolResult(content=[text], structured_content=data)


def _instructions(selection: Selection, source: ProjectSource, reach: Reach) -> str:
    """What a model is told of the server as a whole."""
    if "workspace_create" not in [tool.name for tool in selection.tools]:
        return "Runs commands in fresh virtual machines, apart from this host."
    return (
        f"Disposable virtual machines to work in, apart from this host; here for: {selection.purpose}. "
        f"workspace_create first: /workspace is a copy of {source}. Nothing done inside touches the host's files; "
        f"workspace_export copies results out. {reach} When something went wrong, start over with a fresh state; "
        "delete the workspace when done."
    )


def _checked(arguments: Mapping[str, Any], schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The arguments without those that are null; raises `InvalidRequest` for what the schema does not allow."""
    given = {key: _whole(value) for key, value in arguments.items() if value is not None}
    takes = f"{name} takes: {', '.join(schema['properties']) or 'nothing'}"
    try:
        size = len(json.dumps(given))
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"the arguments are not JSON: {error}", hint=takes) from error
    if size > _LARGEST_ARGUMENTS:
        raise InvalidRequest(
            f"the arguments are {size} characters, more than {_LARGEST_ARGUMENTS}",
            hint="put large content into a file on the host, and copy that with workspace_sync_push",
        )
    for word in given.keys() - schema["properties"].keys():
        near = difflib.get_close_matches(word, schema["properties"], n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise InvalidRequest(f"{shortened(str(word), 100)!r} is no argument of {name}{meant}", hint=takes)
    for word in schema.get("required", ()):
        if word not in given:
            raise InvalidRequest(f"the argument {word!r} is missing", hint=takes)
    for fault in Draft202012Validator(schema).iter_errors(given):
        where = ".".join(str(part) for part in fault.absolute_path) or "the arguments"
        why = f"{fault.instance!r} is of no type that it takes" if fault.validator == "anyOf" else fault.message
        raise InvalidRequest(f"{where}: {shortened(why, 500)}", hint=takes)
    return given


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 10.0 is the integer 10 (JSON Schema, 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _failed(error: PyroError) -> mcp.CallToolResult:
    text = f"{error.code}: {name(error.message)}" + (f"\nHint: {in_tool_words(error.hint)}" if error.hint else "")
    text = shortened(content(readable(text)))
    return mcp.CallToolResult(content=[mcp.TextContent(type="text", text=text)], is_error=True)
