"""The tools that make environments."""

from __future__ import annotations

from pyro_mcp.results import EnvironmentDeleted, EnvironmentDetails
from pyro_mcp.server.tool import FLAG, ID, TEXT, Tool, shape


def _made(result: EnvironmentDetails) -> str:
    size = (result["size_bytes"] or 0) >> 20
    left_out = result["origin"].get("left_out")
    skipped = f" Left out: {', '.join(left_out[:20])}." if left_out else ""
    return f"The environment {result['name']} is made ({size} MiB, from {result['origin'].get('parent')}).{skipped}"


TOOLS = (
    Tool(
        "env_save",
        "Make an environment of a workspace's system, with all that was installed in it, but without /workspace. New "
        "workspaces can begin with it; it stays until env_delete.",
        {"name": {"type": "string", "description": "for example my-project:1"}, "workspace_id": ID, "replace": FLAG},
        ("name", "workspace_id"),
        shape(EnvironmentDetails, "name", "digest", "size_bytes"),
        lambda call: call.pyro.save_environment(
            call.arguments["name"], workspace_id=call.arguments["workspace_id"], **call.given("replace")
        ),
        _made,
        then={"workspace_create": "begin with it: environment is its name"},
    ),
    Tool(
        "env_delete",
        "Remove an environment that was made with env_save.",
        {"name": TEXT},
        ("name",),
        shape(EnvironmentDeleted, "name", "deleted"),
        lambda call: call.pyro.delete_environment(call.arguments["name"]),
        lambda result: f"The environment {result['name']} is deleted.",
        destructive=True,
    ),
)
