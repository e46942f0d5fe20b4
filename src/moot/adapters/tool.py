"""A tool: a function whose signature and docstring are what a model reads of it.

A function gets the desk, then the arguments of the call. It returns a text, or a model: in both cases the text
suffices, and the structured result has the same content.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_type_hints

import mcp_types as mcp
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import near_match

Effect = Literal["reads", "adds", "changes", "removes"]
"""What a tool does: nothing, add something, set something to a value, or remove something."""
NOTICE = "notice"
_LONGEST_FAULT = 300


@dataclass(frozen=True)
class Tool:
    """A function as a tool."""

    function: Callable[..., Any]
    effect: Effect

    @property
    def name(self) -> str:
        return self.function.__name__

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.function, include_extras=True)

    @cached_property
    def arguments(self) -> type[BaseModel]:
        """Return the model of the arguments."""
        fields: dict[str, Any] = {}
        for one in list(inspect.signature(self.function).parameters.values())[1:]:
            default = ... if one.default is inspect.Parameter.empty else one.default
            fields[one.name] = (self._hints[one.name], default)
        return create_model(self.name, __config__=ConfigDict(extra="forbid"), **fields)

    def described(self) -> mcp.Tool:
        """Return the tool as the protocol describes it."""
        schema = self.arguments.model_json_schema()
        return mcp.Tool(
            name=self.name,
            description=" ".join((self.function.__doc__ or "").split()),
            input_schema={"type": "object", **_plain(schema)},
            output_schema=self.output_schema(),
            annotations=mcp.ToolAnnotations(
                read_only_hint=self.effect == "reads",
                destructive_hint=self.effect == "removes",
                idempotent_hint=self.effect != "adds",
                open_world_hint=True,
            ),
        )

    def output_schema(self) -> dict[str, Any]:
        """Return the JSON schema of the structured result."""
        kind = self._hints["return"]
        if issubclass(kind, BaseModel):
            schema = _plain(kind.model_json_schema())
        else:
            schema = {"type": "object", "properties": {"result": {"type": "string"}}, "required": ["result"]}
        schema["properties"][NOTICE] = {"type": "string", "description": "unread messages, if there are any"}
        return schema

    def call(self, desk: Any, given: Mapping[str, Any]) -> Any:
        """Return the result of a call. Raises `InvalidRequest` for arguments that do not fit."""
        known = list(self.arguments.model_fields)
        takes = f"{self.name} takes: {', '.join(known) or 'nothing'}"
        for word in given.keys() - set(known):
            why = "; ".join(
                filter(None, (f"{word[:100]!r} is not an argument of {self.name}", near_match(word, known)))
            )
            raise InvalidRequest(why, hint=takes)
        try:
            checked = self.arguments.model_validate({name: one for name, one in given.items() if one is not None})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InvalidRequest(f"{where}: {first['msg']}"[:_LONGEST_FAULT], hint=takes) from None
        return self.function(desk, **{name: getattr(checked, name) for name in known})


def reads(function: Callable[..., Any]) -> Tool:
    """Mark a function as a tool that changes nothing."""
    return Tool(function, "reads")


def adds(function: Callable[..., Any]) -> Tool:
    """Mark a function as a tool that adds something each time."""
    return Tool(function, "adds")


def changes(function: Callable[..., Any]) -> Tool:
    """Mark a function as a tool that sets something; twice is as once."""
    return Tool(function, "changes")


def removes(function: Callable[..., Any]) -> Tool:
    """Mark a function as a tool that removes something."""
    return Tool(function, "removes")


def result(returned: str | BaseModel, notice: str = "") -> mcp.CallToolResult:
    """Return what a tool returned, as text and as data, with a notice at its end."""
    data = {"result": returned} if isinstance(returned, str) else returned.model_dump()
    text = returned if isinstance(returned, str) else json.dumps(data, ensure_ascii=False)
    if notice:
        data[NOTICE] = notice
        text = f"{text}\n\n{notice}"
    text, data = _valid(text), json.loads(_valid(json.dumps(data, ensure_ascii=False)))
    return mcp.CallToolResult(content=[mcp.TextContent(type="text", text=text)], structured_content=data)


def failure(code: str, message: str, hint: str = "") -> mcp.CallToolResult:
    """Return a failure as a model reads it."""
    text = f"{code}: {message}" + (f"\nHint: {hint}" if hint else "")
    return mcp.CallToolResult(content=[mcp.TextContent(type="text", text=_valid(text))], is_error=True)


def _valid(text: str) -> str:
    return text.encode(errors="replace").decode()


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without the titles that pydantic adds."""
    found = {name: value for name, value in schema.items() if name != "title"}
    for one in found.setdefault("properties", {}).values():
        one.pop("title", None)
    return found
