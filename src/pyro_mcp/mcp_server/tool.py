"""What a tool is: a name, what a model reads of it, one call, and the text that tells its result."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

from pyro_mcp.core import OutputSink, Pyro
from pyro_mcp.errors import InvalidRequest
from pyro_mcp.hints import Argument, Hint
from pyro_mcp.mcp_server.network_bounds import Reach
from pyro_mcp.mcp_server.project_seed import ProjectSource
from pyro_mcp.serving import ACCELERATORS

Schema = Mapping[str, Any]

ID: Schema = {"type": "string"}
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
COMMAND: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
ACCELERATOR: Schema = {"enum": list(ACCELERATORS), "description": "what runs the VM; default: the fastest here"}
SECONDS: Schema = {"type": "number"}
LABELS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}

_JSON_TYPES = {
    str: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    dict: "object",
    list: "array",
    type(None): "null",
}


@dataclass(frozen=True)
class Call:
    """One call of a tool: what the model gave, and what the call works with."""

    pyro: Pyro
    source: ProjectSource
    reach: Reach
    arguments: Mapping[str, Any]
    interrupt: int | None = None
    """A descriptor that becomes readable when nobody wants the result any more."""
    on_output: OutputSink | None = None
    """Is given a command's output as it comes."""
    accelerator: str | None = None
    """That of the server's machines; with None or "auto" a call may choose one."""

    def given(self, *names: str) -> dict[str, Any]:
        """Return the arguments of these names that were given; the others keep the defaults of the SDK."""
        return {name: self.arguments[name] for name in names if name in self.arguments}

    def chosen_accelerator(self) -> dict[str, Any]:
        """Return a new machine's accelerator as an option; raise `InvalidRequest` for another than the server's."""
        given, own = self.arguments.get("accelerator"), self.accelerator
        if own in (None, "auto"):
            return {"accelerator": given or own}
        if given not in (None, "auto", own):
            raise InvalidRequest(
                f"machines of this server run on the accelerator {own}",
                hint=Hint("leave {} out", Argument("accelerator")),
            )
        return {"accelerator": own}


@dataclass(frozen=True)
class Tool:
    """A verb of the SDK as a model sees it.

    `parameters` are JSON schemas by the SDK's own names; those in `only_full` belong to the full profile alone.
    `output` is the part of the result's shape that a program may count on. `rest` says how to get at what a long
    result leaves out, `then` what the next steps may be, by the tools that do them.
    """

    name: str
    description: str
    parameters: Mapping[str, Schema]
    required: tuple[str, ...]
    output: Schema
    call: Callable[[Call], Mapping[str, Any]]
    tell: Callable[[Any], str]
    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    open_world: bool = False
    only_full: frozenset[str] = field(default_factory=frozenset)
    rest: str = "ask for less at once"
    then: Mapping[str, str] = field(default_factory=dict)
    undo: Callable[[Call, Any], object] | None = None
    """What to do with a result that nobody waits for any more."""

    def input_schema(self, *, full: bool) -> dict[str, Any]:
        """Return the schema of the arguments; without those of the full profile unless `full`."""
        shown = {name: one for name, one in self.parameters.items() if full or name not in self.only_full}
        schema: dict[str, Any] = {"type": "object", "properties": shown}
        if self.required:
            schema["required"] = list(self.required)
        return schema


def shape(result: type, *names: str) -> Schema:
    """Return the JSON schema of a result with the documented fields `names`; the result may hold others."""
    hints = get_type_hints(result)
    return {"type": "object", "properties": {name: _field(name, hints[name]) for name in names}}


def _field(name: str, hint: Any) -> dict[str, Any]:
    """Return the schema of a field; moments are ISO 8601."""
    return {"type": "string", "format": "date-time"} if name.endswith("_at") else _schema(hint)


def _schema(hint: Any) -> dict[str, Any]:
    """Return the coarse JSON schema of an annotation: its kinds of value without null, not their contents."""
    kinds = sorted(set(_kinds(hint)) - {"null"})
    return {"type": kinds[0]} if len(kinds) == 1 else {"anyOf": [{"type": kind} for kind in kinds]}


def _kinds(hint: Any) -> Sequence[str]:
    if is_typeddict(hint):
        return ["object"]
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return [kind for part in get_args(hint) for kind in _kinds(part)]
    if origin is Literal:
        return [kind for value in get_args(hint) for kind in _kinds(type(value))]
    return [_JSON_TYPES[origin or hint]]
