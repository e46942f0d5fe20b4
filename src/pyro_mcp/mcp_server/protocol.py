"""The protocol: lists tools, takes calls, and gives each its thread."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import mcp_types as mcp
from jsonschema import Draft202012Validator
from mcp.server import Server
from mcp.server.context import ServerRequestContext

from pyro_mcp.core import Pyro
from pyro_mcp.errors import Interrupted, InvalidRequest, PyroError
from pyro_mcp.hints import near_match, render_hints
from pyro_mcp.mcp_server.bounds import bounded, shortened
from pyro_mcp.mcp_server.catalogue import NAME, TITLE, Catalogue
from pyro_mcp.mcp_server.permitted import permitted
from pyro_mcp.mcp_server.plain import readable, sanitize_content, sanitize_name, sanitize_result, structured
from pyro_mcp.mcp_server.text import told
from pyro_mcp.mcp_server.thread import Work, in_thread
from pyro_mcp.mcp_server.tool import Call, Tool

_log = logging.getLogger("pyro_mcp.mcp_server")
_LARGEST_ARGUMENTS = 16 * 1024 * 1024
"""Characters of a call's arguments as JSON."""
_current: ContextVar[Work | None] = ContextVar("work of this thread", default=None)


def _report(message: str, fraction: float | None = None) -> None:
    """Pass what long work says of itself to the call that it is done for."""
    if (work := _current.get()) is not None:
        work.progress(message, fraction)


class Protocol:
    """The protocol's own server over one `Pyro`, with the tools of a catalogue."""

    def __init__(self, pyro: Pyro, catalogue: Catalogue) -> None:
        self._pyro = pyro.reporting_to(_report)
        self._catalogue = catalogue
        self.lowlevel: Server[Any] = Server(
            NAME,
            version=catalogue.version,
            title=TITLE,
            instructions=catalogue.instructions,
            on_list_tools=self._on_list_tools,
            on_call_tool=self._on_call_tool,
        )

    def list_tools(self) -> list[mcp.Tool]:
        """Return the tools, always in the same order."""
        return [mcp.Tool.model_validate(tool) for tool in self._catalogue.tools]

    async def call_tool(self, name: str, arguments: Mapping[str, Any]) -> mcp.CallToolResult:
        """Call a tool; a failure is a result with `is_error`, never an exception."""
        return await self._call(name, arguments, Work())

    async def _on_list_tools(
        self, context: ServerRequestContext[Any], params: mcp.PaginatedRequestParams | None
    ) -> mcp.ListToolsResult:
        return mcp.ListToolsResult(tools=self.list_tools())

    async def _on_call_tool(
        self, context: ServerRequestContext[Any], params: mcp.CallToolRequestParams
    ) -> mcp.CallToolResult:
        return await self._call(params.name, params.arguments or {}, Work(context.session.report_progress))

    async def _call(self, name: str, arguments: Mapping[str, Any], work: Work) -> mcp.CallToolResult:
        try:
            tool = self._known(name)
            given = _checked(arguments, self._catalogue.input_schemas[name], name)
            result = await in_thread(lambda: self._run(tool, given, work), work)
        except PyroError as error:
            return self._failed(error)
        except Exception as error:  # noqa: BLE001
            _log.exception("the tool %r failed unexpectedly", name)
            return self._failed(PyroError(f"{name} failed: {type(error).__name__}", hint="this is a bug in pyro"))
        return self._told(tool, result)

    def _run(self, tool: Tool, given: Mapping[str, Any], work: Work) -> Mapping[str, Any]:
        _current.set(work)
        offered = self._catalogue
        given = permitted(self._pyro, offered.reach, tool.name, given)
        call = Call(self._pyro, offered.source, offered.reach, given, work.interrupt, work.output, offered.accelerator)
        result = tool.call(call)
        if work.ended and tool.undo is not None:
            tool.undo(call, result)
            raise Interrupted("the call was cancelled, so its result was undone")
        rendered: Mapping[str, Any] = render_hints(result, self._catalogue.words)
        return rendered

    def _known(self, name: str) -> Tool:
        if name not in self._catalogue.by_name:
            near = difflib.get_close_matches(name, self._catalogue.by_name, n=3) or list(self._catalogue.by_name)
            raise InvalidRequest(f"there is no tool {shortened(name, 100)!r}", hint=f"there is: {', '.join(near)}")
        return self._catalogue.by_name[name]

    def _failed(self, error: PyroError) -> mcp.CallToolResult:
        hint = render_hints(error.hint, self._catalogue.words)
        text = f"{error.code}: {sanitize_name(error.message)}" + (f"\nHint: {hint}" if hint else "")
        text = shortened(sanitize_content(readable(text)))
        return mcp.CallToolResult(content=[mcp.TextContent(type="text", text=text)], is_error=True)

    def _told(self, tool: Tool, result: Mapping[str, Any]) -> mcp.CallToolResult:
        """Return the result as a complete text, and for programs as data."""
        result = readable(result)
        steps = {name: why for name, why in tool.then.items() if name in self._catalogue.by_name}
        text = mcp.TextContent(type="text", text=told(tool, sanitize_result(result), steps))
        data = bounded(structured(result)) if self._catalogue.structured else None
        return mcp.CallToolResult(content=[text], structured_content=data)


def _checked(arguments: Mapping[str, Any], schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the arguments without nulls; raise `InvalidRequest` for what the schema does not allow."""
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
        meant = near_match(word, schema["properties"])
        why = f"{shortened(str(word), 100)!r} is not an argument of {name}"
        raise InvalidRequest("; ".join(filter(None, (why, meant))), hint=takes)
    for word in schema.get("required", ()):
        if word not in given:
            raise InvalidRequest(f"the argument {word!r} is missing", hint=takes)
    for fault in Draft202012Validator(schema).iter_errors(given):
        where = ".".join(str(part) for part in fault.absolute_path) or "the arguments"
        why = f"{fault.instance!r} has the wrong type" if fault.validator == "anyOf" else fault.message
        raise InvalidRequest(f"{where}: {shortened(why, 500)}", hint=takes)
    return given


def _whole(value: Any) -> Any:
    """Return 10.0 as the integer 10: JSON has one kind of number (JSON Schema, 6.1.1)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
