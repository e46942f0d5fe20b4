"""What a server says of itself: its instructions and its tools, as the protocol's JSON."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pyro_mcp.mcp_server.network_bounds import Reach
from pyro_mcp.mcp_server.plain import readable
from pyro_mcp.mcp_server.profiles import Selection
from pyro_mcp.mcp_server.project_seed import ProjectSource
from pyro_mcp.mcp_server.tool import Tool
from pyro_mcp.mcp_server.tool_words import ToolWords

NAME = "pyro"
TITLE = "pyro workspaces"


@dataclass(frozen=True)
class Catalogue:
    """The tools of one server and what they work on; `structured` results hold data beside the text.

    `accelerator` is that of its machines; with None or "auto" a call may choose one.
    """

    selection: Selection
    source: ProjectSource
    reach: Reach
    version: str
    structured: bool
    accelerator: str | None = None

    @cached_property
    def by_name(self) -> dict[str, Tool]:
        """Return the tools by name, always in the same order."""
        return {tool.name: tool for tool in self.selection.tools}

    @cached_property
    def input_schemas(self) -> dict[str, dict[str, Any]]:
        """Return the JSON schema of each tool's arguments."""
        return {tool.name: tool.input_schema(full=self.selection.full) for tool in self.selection.tools}

    @cached_property
    def words(self) -> ToolWords:
        """Return the words that a hint to the model may use."""
        arguments = {word for schema in self.input_schemas.values() for word in schema["properties"]}
        if self.reach.policy == "off":
            arguments -= {"network_policy", "allow_hosts", "network"}
        return ToolWords(frozenset(self.by_name), frozenset(arguments))

    @cached_property
    def tools(self) -> list[dict[str, Any]]:
        """Return the answer to tools/list."""
        return [self._described(tool) for tool in self.selection.tools]

    @cached_property
    def instructions(self) -> str:
        """Return the server's instructions for the model."""
        if "workspace_create" not in self.by_name:
            return "Runs commands in fresh virtual machines, isolated from this host."
        said = (
            f"Disposable virtual machines to work in, isolated from this host. Use: {self.selection.purpose}. "
            f"workspace_create first: /workspace is a copy of {self.source}. Nothing done inside touches the host's "
            f"files; workspace_export copies results out. {self.reach} When something went wrong, start over with a "
            "fresh state; delete the workspace when done."
        )
        return str(readable(said))

    def _described(self, tool: Tool) -> dict[str, Any]:
        described = {
            "name": tool.name,
            "description": tool.description,
            "inputSchema": self.input_schemas[tool.name],
            "annotations": {
                "readOnlyHint": tool.read_only,
                "destructiveHint": tool.destructive,
                "idempotentHint": tool.idempotent,
                "openWorldHint": tool.open_world,
            },
        }
        return {**described, "outputSchema": dict(tool.output)} if self.structured else described
