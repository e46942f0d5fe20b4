"""Write docs/mcp-tools.md from the server itself: `.venv/bin/python scripts/mcp_reference.py > docs/mcp-tools.md`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from pyro_mcp.mcp_server import MODES, PROFILES
from pyro_mcp.mcp_server.profiles import ALL
from pyro_mcp.mcp_server.tool import Tool

_OPENING = """\
# The tools of the MCP server

Generated from the server by `scripts/mcp_reference.py`; a test keeps the two equal.
`pyro mcp serve` offers the tools of one profile (`--profile`) or one mode (`--mode`), `workspace-core` without either.
Arguments have the names that the Python SDK gives them, and its defaults; those in *italics* belong to the profile
`workspace-full` alone.

A result is a text that suffices alone: at most 11,000 bytes, with a remark where something is left out and how to get
it, and with the next steps. With `--results both`, the default without a chat host, it comes as data too: what the SDK
returns, without nulls, with moments as ISO 8601, and with texts of more than 24 KiB cut in their middle.
`pyro host connect` writes `--results text`, because Claude Code and Codex show a model the data in place of the text.
"""


def reference() -> str:
    """Return the whole document."""
    return "\n".join([_OPENING, _offers("Profiles", PROFILES), _offers("Modes", MODES), "## Tools\n", *map(_tool, ALL)])


def _offers(heading: str, offers: Mapping[str, Any]) -> str:
    lines = [f"## {heading}", "", "| | For | Tools |", "|---|---|---|"]
    for name, offer in offers.items():
        tools = "all of them" if len(offer.names) == len(ALL) else " ".join(f"`{one}`" for one in offer.names)
        lines.append(f"| `{name}` | {offer.purpose} | {tools} |")
    return "\n".join([*lines, ""])


def _tool(tool: Tool) -> str:
    lines = [f"### {tool.name}", "", tool.description, ""]
    for name, schema in tool.parameters.items():
        shown = f"*`{name}`*" if name in tool.only_full else f"`{name}`"
        needed = ", required" if name in tool.required else ""
        lines.append(f"- {shown}: {_kind(schema)}{needed}")
    traits = {
        "reads only": tool.read_only,
        "may destroy": tool.destructive,
        "twice is as once": tool.idempotent,
        "reaches beyond the machine": tool.open_world,
    }
    told = ", ".join(name for name, value in traits.items() if value) or "changes what is inside the machine"
    fields = ", ".join(f"`{name}`" for name in tool.output["properties"])
    return "\n".join([*lines, "", f"{told[0].upper()}{told[1:]}. Returns at least {fields}.", ""])


def _kind(schema: Mapping[str, Any]) -> str:
    kinds = schema.get("type", "")
    if "enum" in schema:
        word = " or ".join(f"`{one}`" for one in schema["enum"])
    else:
        word = kinds or " or ".join(one["type"] for one in schema["anyOf"])
    default = f", by default `{schema['default']}`" if "default" in schema else ""
    most = f", at most {schema['maximum']}" if "maximum" in schema else ""
    return f"{word}{default}{most}{': ' + schema['description'] if 'description' in schema else ''}"


if __name__ == "__main__":
    sys.stdout.write(reference())
