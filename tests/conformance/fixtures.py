"""The tools that the conformance suite calls, on our transport."""

from __future__ import annotations

from typing import Any

import mcp_types as mcp
from mcp.server import Server
from mcp.server.context import ServerRequestContext

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=="
SILENCE = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA="
_NOTHING: dict[str, Any] = {"type": "object", "properties": {}}


def _resource(uri: str, kind: str, text: str) -> mcp.EmbeddedResource:
    return mcp.EmbeddedResource(type="resource", resource=mcp.TextResourceContents(uri=uri, mime_type=kind, text=text))


_TEXT = mcp.TextContent(type="text", text="This is a simple text response for testing.")
_IMAGE = mcp.ImageContent(type="image", data=PIXEL, mime_type="image/png")
ANSWERS: dict[str, list[mcp.ContentBlock]] = {
    "test_simple_text": [_TEXT],
    "test_image_content": [_IMAGE],
    "test_audio_content": [mcp.AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")],
    "test_embedded_resource": [_resource("test://embedded-resource", "text/plain", "This is an embedded resource.")],
    "test_multiple_content_types": [
        mcp.TextContent(type="text", text="Multiple content types test:"),
        _IMAGE,
        _resource("test://mixed-content-resource", "application/json", '{"test": "data", "value": 123}'),
    ],
    "test_tool_with_progress": [mcp.TextContent(type="text", text="done")],
    "json_schema_2020_12_tool": [_TEXT],
}
SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def fixtures() -> Server[Any]:
    """A server with these tools alone."""
    return Server("fixtures", version="1", on_list_tools=_listed, on_call_tool=_called)


async def _listed(
    _context: ServerRequestContext[Any], _params: mcp.PaginatedRequestParams | None
) -> mcp.ListToolsResult:
    names = [*ANSWERS, "test_error_handling"]
    schemas = {"json_schema_2020_12_tool": SCHEMA_2020_12}
    tools = [mcp.Tool(name=name, description=name, input_schema=schemas.get(name, _NOTHING)) for name in names]
    return mcp.ListToolsResult(tools=tools)


async def _called(context: ServerRequestContext[Any], params: mcp.CallToolRequestParams) -> mcp.CallToolResult:
    if params.name == "test_tool_with_progress":
        for step in (0, 50, 100):
            await context.session.report_progress(step, 100, f"step {step}")
    if params.name not in ANSWERS:
        said = mcp.TextContent(type="text", text="This tool intentionally returns an error for testing")
        return mcp.CallToolResult(content=[said], is_error=True)
    return mcp.CallToolResult(content=ANSWERS[params.name])
